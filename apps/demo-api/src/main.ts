import 'reflect-metadata';
import { listen, start } from '@app/serving';
import { Logger } from '@nestjs/common';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';
import { DIGITS_NETWORK, type DigitsNetwork } from './digits/digits-network.js';

await start(async () => {
  const configuration = readConfiguration(process.env);
  const app = await createApp(configuration);
  const url = await listen(app, configuration);
  const { backend, device } = app.get<DigitsNetwork>(DIGITS_NETWORK);
  new Logger('Digits').log(
    `Open ${url} (served by ${configuration.httpAdapter}, read by ${backend} on ${device})`,
  );
});
