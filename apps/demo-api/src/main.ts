import 'reflect-metadata';
import { listen, start } from '@app/serving';
import { Logger } from '@nestjs/common';
import { getTfjsModelToken, type TfjsModel } from 'nest-batching/tfjs';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';

await start(async () => {
  const configuration = readConfiguration(process.env);
  const app = await createApp(configuration);
  const url = await listen(app, configuration);
  const { backend, device } = app.get<TfjsModel>(getTfjsModelToken('digits'));
  new Logger('Digits').log(
    `Open ${url} (served by ${configuration.httpAdapter}, read by ${backend} on ${device})`,
  );
});
