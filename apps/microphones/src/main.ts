import 'reflect-metadata';
import { listen, start } from '@app/serving';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';

await start(async () => {
  const configuration = readConfiguration(process.env);
  const app = await createApp(configuration);
  console.log(`Open ${await listen(app, configuration)}`);
});
