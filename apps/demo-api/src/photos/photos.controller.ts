import { Controller, Headers, HttpCode, Post, Res, StreamableFile } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiErrors } from '../api-document.js';
import { PICTURE_TYPES, type Upload, UploadedBody } from '../http/bodies.js';
import { eventStream } from '../http/event-stream.js';
import { PhotoUpscaler, type Progress } from './photo-upscaler.js';

/** What the page and programs see of an upscaling, event by event. */
const exampleEvents = [
  'event: progress\ndata: {"done":0,"total":24}\n',
  'event: progress\ndata: {"done":1,"total":24}\n',
  'event: picture\ndata: {"png":"iVBORw0KGgo…"}\n',
].join('\n');

/** Photos, enlarged by a network that all callers share, tile by tile. */
@ApiTags('photos')
@Controller('photos')
export class PhotosController {
  constructor(private readonly photos: PhotoUpscaler) {}

  @ApiOperation({
    summary: 'Double the sides of a photo',
    description:
      'Takes a PNG or JPEG picture and gives a PNG, upright, in sRGB, without metadata. With `Accept: text/event-stream` ' +
      'it gives server-sent events: `progress` at the beginning and after each tile; at the end `picture`, the PNG in ' +
      'base64, or `error`, with the body of any other error. When the connection is closed, no more tiles are enlarged.',
  })
  @ApiConsumes(...PICTURE_TYPES)
  @ApiBody({ schema: { type: 'string', format: 'binary' } })
  @ApiOkResponse({
    content: {
      'image/png': { schema: { type: 'string', format: 'binary' } },
      'text/event-stream': { schema: { type: 'string' }, example: exampleEvents },
    },
  })
  @ApiErrors(400, 408, 413, 415, 422, 503)
  @HttpCode(200)
  @Post('upscale')
  async upscale(
    @UploadedBody() { bytes: file, signal }: Upload,
    @Res({ passthrough: true }) reply: { header(name: string, value: string): unknown },
    @Headers('accept') accept = '',
  ): Promise<StreamableFile> {
    if (!accept.includes('text/event-stream')) {
      return new StreamableFile(await this.photos.upscale(file, { signal }), { type: 'image/png' });
    }
    // Or nginx would keep the events until it has enough of them.
    reply.header('X-Accel-Buffering', 'no');
    return eventStream(async (send) => {
      const onProgress = (progress: Progress) => {
        send('progress', progress);
      };
      const picture = await this.photos.upscale(file, { signal, onProgress });
      send('picture', { png: picture.toString('base64') });
    });
  }
}
