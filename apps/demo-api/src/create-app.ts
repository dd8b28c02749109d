import type { INestApplication } from '@nestjs/common';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';
import { createHttpApp } from './http/create-http-app.js';
import { PhotoPlaces, refusePhotos } from './photos/photo-places.js';

/** The application as it runs, and as the tests run it; `listen` starts it. */
export function createApp(configuration: Configuration): Promise<INestApplication> {
  return createHttpApp(AppModule.with(configuration), configuration, (app) => {
    app.use(refusePhotos(app.get(PhotoPlaces)));
  });
}
