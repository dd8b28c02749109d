import { appFolder as folderOf } from '@app/serving';

/** Where this application's own files are: the page and the data. */
export const appFolder = folderOf('lookup');
