import 'reflect-metadata';
import { listen, start } from '@app/serving';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';
import { MemberDatabase } from './members/member-database.js';

await start(async () => {
  const configuration = readConfiguration(process.env);
  const app = await createApp(configuration);
  const url = await listen(app, configuration);
  console.log(`Open ${url} (the members are in ${app.get(MemberDatabase).name})`);
});
