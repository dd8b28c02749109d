import { appFolder as folderOf } from '@app/serving';

/** Where this application's own files are: the pages and the models. */
export const appFolder = folderOf('demo-api');
