import { CONFIGURATION } from '@app/serving';
import { type BeforeApplicationShutdown, Inject } from '@nestjs/common';
import {
  ConnectedSocket,
  MessageBody,
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  SubscribeMessage,
  WebSocketGateway,
} from '@nestjs/websockets';
import { type Batched, InjectBatched } from 'nest-batching';
import type { WebSocket } from 'ws';
import { endClient, refusalOf, sendTo } from './client.js';
import type { Configuration } from './configuration.js';
import { Crowd } from './crowd.js';
import { Places } from './places.js';
import { readRecording } from './recording.js';
import { CLOSE, goingAway, Refusal } from './refusal.js';
import { VoiceDetector } from './voice-detector.js';

/** Milliseconds between two looks at a crowd. */
const LOOK = 200;
/** Most bytes of a message: `{"microphones":100000}` has fewer. */
const MOST_BYTES = 64;

interface Wall {
  readonly crowd: Crowd;
  readonly timer: NodeJS.Timeout;
}

/** A crowd for each connection: the client says how many microphones, and sees what each of them hears. */
@WebSocketGateway({ path: '/wall', maxPayload: MOST_BYTES })
export class WallGateway
  implements OnGatewayConnection<WebSocket>, OnGatewayDisconnect<WebSocket>, BeforeApplicationShutdown
{
  readonly #walls = new Map<WebSocket, Wall>();
  readonly #recording = readRecording();
  #stopped: Refusal | undefined;

  constructor(
    @InjectBatched(VoiceDetector) private readonly detector: Batched<VoiceDetector>,
    private readonly places: Places,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  handleConnection(client: WebSocket): void {
    if (this.#stopped) {
      endClient(client, this.#stopped);
      return;
    }
    const crowd = new Crowd(this.detector, this.#recording, this.places);
    const timer = setInterval(() => {
      if (crowd.size === 0) return;
      this.#try(client, () => {
        this.#show(client, crowd);
      });
    }, LOOK);
    this.#walls.set(client, { crowd, timer });
  }

  handleDisconnect(client: WebSocket): void {
    this.#leave(client);
  }

  @SubscribeMessage('text')
  text(@ConnectedSocket() client: WebSocket, @MessageBody() message: unknown): void {
    this.#try(client, () => {
      const wall = this.#walls.get(client);
      if (!wall) return;
      const count = this.#read(message);
      try {
        wall.crowd.resize(count);
      } finally {
        this.#show(client, wall.crowd);
      }
    });
  }

  @SubscribeMessage('bytes')
  bytes(@ConnectedSocket() client: WebSocket): void {
    this.text(client, undefined);
  }

  beforeApplicationShutdown(): void {
    this.#stopped = goingAway();
    for (const client of this.#walls.keys()) {
      this.#leave(client);
      endClient(client, this.#stopped);
    }
  }

  #show(client: WebSocket, crowd: Crowd): void {
    sendTo(client, 'wall', crowd.look(), this.configuration.maxUnread);
  }

  #read(message: unknown): number {
    const { microphones } = parse(message);
    const most = this.configuration.maxMicrophones;
    if (Number.isInteger(microphones) && Number(microphones) >= 0 && Number(microphones) <= most) {
      return Number(microphones);
    }
    throw new Refusal('ERR_WALL', CLOSE.invalid, `expected {"microphones": an integer from 0 to ${most}}`);
  }

  /** A crowd that does not fit gets an error and goes on smaller; a malformed message ends the connection. */
  #try(client: WebSocket, work: () => void): void {
    try {
      work();
    } catch (error) {
      const reason = refusalOf(error);
      if (reason.code === 'ERR_MICROPHONES_FULL') {
        const { code, message, retryAfter } = reason;
        sendTo(client, 'refused', { code, message, retryAfter }, Infinity);
        return;
      }
      this.#leave(client);
      endClient(client, reason);
    }
  }

  #leave(client: WebSocket): void {
    const wall = this.#walls.get(client);
    this.#walls.delete(client);
    clearInterval(wall?.timer);
    wall?.crowd.resize(0);
  }
}

function parse(message: unknown): { microphones?: unknown } {
  try {
    const parsed: unknown = JSON.parse(String(message));
    return typeof parsed === 'object' && parsed ? parsed : {};
  } catch {
    return {};
  }
}
