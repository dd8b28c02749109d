import { Controller, HttpCode, Post, Query, Res, StreamableFile } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import sharp from 'sharp';
import { ApiErrors } from '@app/serving';
import { photoErrors } from '../api-errors.js';
import { PICTURE_TYPES, type Upload, UploadedBody } from '../http/bodies.js';
import { WantsEvents } from '../http/caller.js';
import { eventSchema } from '../http/event-schema.js';
import { eventStream, type SendEvent } from '../http/event-stream.js';
import { GridDto, PhotoQuery, PictureDto, ProgressDto, TileDto } from './photo.dto.js';
import { type EnlargedTile, type Grid, PhotoUpscaler, type Progress } from './photo-upscaler.js';

/** The events of a picture of one red pixel, with the backend `wasm`. */
const exampleEvents =
  [
    'event: progress\ndata: {"done":0,"total":1}\n',
    'event: progress\ndata: {"done":1,"total":1}\n',
    'event: picture\ndata: {"png":"iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAAFklEQVQImWMo0ZeepqPEMMVWbrOhAQAZkwOmdvJdKQAAAABJRU5ErkJggg=="}\n',
  ].join('\n') + '\n';

/** Photos, enlarged by a network that all callers share, tile by tile. */
@ApiTags('photos')
@Controller('photos')
export class PhotosController {
  constructor(private readonly photos: PhotoUpscaler) {}

  @ApiOperation({
    summary: 'Double the sides of a photo',
    description:
      'Takes a PNG, JPEG, WebP or GIF picture and gives a PNG, upright, in sRGB, without metadata. With `Accept: text/event-stream` ' +
      'it gives server-sent events: `progress` at the beginning and after each tile; at the end `picture`, the PNG in ' +
      'base64, or `error`, with the body of any other error. With `?tiles=true` also `grid` at the beginning, and each `tile`. ' +
      'When the connection is closed, no more tiles are enlarged.',
  })
  @ApiExtraModels(GridDto, TileDto, ProgressDto, PictureDto)
  @ApiConsumes(...PICTURE_TYPES)
  @ApiBody({ schema: { type: 'string', format: 'binary' } })
  @ApiOkResponse({
    content: {
      'image/png': { schema: { type: 'string', format: 'binary' } },
      'text/event-stream': {
        schema: eventSchema({
          grid: GridDto,
          tile: TileDto,
          progress: ProgressDto,
          picture: PictureDto,
          error: 'Error',
        }),
        example: exampleEvents,
      },
    },
  })
  @ApiErrors(...photoErrors)
  @HttpCode(200)
  @Post('upscale')
  async upscale(
    @UploadedBody() { bytes: file, signal }: Upload,
    @Res({ passthrough: true }) reply: { header(name: string, value: string): unknown },
    @WantsEvents() wantsEvents: boolean,
    @Query() { tiles: wantsTiles }: PhotoQuery,
  ): Promise<StreamableFile> {
    if (!wantsEvents) {
      return new StreamableFile(await this.photos.upscale(file, { signal }), { type: 'image/png' });
    }
    // Or nginx would keep the events until it has enough of them.
    reply.header('X-Accel-Buffering', 'no');
    return eventStream(async (send) => {
      const onProgress = (progress: Progress) => {
        send('progress', progress);
      };
      const sending: Promise<void>[] = [];
      const tiles = {
        onGrid: (grid: Grid) => {
          send('grid', grid);
        },
        onTile: (tile: EnlargedTile) => {
          const sent = sendTile(tile, send);
          // It is waited for when the photo is done.
          sent.catch(() => undefined);
          sending.push(sent);
        },
      };
      const options = { signal, onProgress, ...(wantsTiles ? tiles : {}) };
      // Also where it fails: the error is the last event.
      const picture = await this.photos.upscale(file, options).finally(() => Promise.all(sending));
      send('picture', { png: picture.toString('base64') });
    });
  }
}

/** As JPEG, which is a tenth of its bytes: it is looked at for seconds, until the whole picture comes. */
async function sendTile(tile: EnlargedTile, send: SendEvent): Promise<void> {
  const { values, width, height, left, top, journey } = tile;
  const jpeg = await sharp(values, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
  send('tile', { left, top, journey, jpeg: jpeg.toString('base64') });
}
