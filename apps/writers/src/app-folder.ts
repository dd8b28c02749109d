import { appFolder as folderOf } from '@app/serving';

/** Where this application's own files are: the page and the network. */
export const appFolder = folderOf('writers');
