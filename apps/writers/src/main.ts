import 'reflect-metadata';
import { listen, start } from '@app/serving';
import { getTfjsModelToken, type TfjsModel } from 'nest-batching/tfjs';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';

await start(async () => {
  const configuration = readConfiguration(process.env);
  const app = await createApp(configuration);
  const url = await listen(app, configuration);
  const { backend, device } = app.get<TfjsModel>(getTfjsModelToken('writers'));
  console.log(`Open ${url} (written by ${backend} on ${device})`);
});
