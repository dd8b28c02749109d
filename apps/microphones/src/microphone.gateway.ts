import { CONFIGURATION } from '@app/serving';
import { type BeforeApplicationShutdown, Inject, Logger } from '@nestjs/common';
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
import { MOST_BYTES } from './frame.js';
import { Microphone } from './microphone.js';
import { Places } from './places.js';
import { CLOSE, goingAway, Refusal } from './refusal.js';
import { VoiceDetector } from './voice-detector.js';

/** One connection is one microphone: bytes come, an answer goes for each frame, in order. See README.md. */
@WebSocketGateway({ path: '/microphone', maxPayload: MOST_BYTES })
export class MicrophoneGateway
  implements OnGatewayConnection<WebSocket>, OnGatewayDisconnect<WebSocket>, BeforeApplicationShutdown
{
  readonly #microphones = new Map<WebSocket, Microphone>();
  readonly #logger = new Logger(MicrophoneGateway.name);
  #stopped: Refusal | undefined;

  constructor(
    @InjectBatched(VoiceDetector) private readonly detector: Batched<VoiceDetector>,
    private readonly places: Places,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  handleConnection(client: WebSocket): void {
    try {
      if (this.#stopped) throw this.#stopped;
      const microphone = new Microphone(this.detector, this.configuration, this.places.take(), (reason) => {
        this.#end(client, reason);
      });
      this.#microphones.set(client, microphone);
    } catch (error) {
      this.#end(client, error);
    }
  }

  handleDisconnect(client: WebSocket): void {
    this.#microphones
      .get(client)
      ?.end(new Refusal('ERR_MICROPHONE_GONE', CLOSE.goingAway, 'the connection is closed'));
    this.#microphones.delete(client);
  }

  @SubscribeMessage('bytes')
  async bytes(@ConnectedSocket() client: WebSocket, @MessageBody() message: unknown): Promise<void> {
    const microphone = this.#microphones.get(client);
    if (!microphone || microphone.ended) return;
    try {
      sendTo(client, 'heard', await microphone.hear(message), this.configuration.maxUnread);
    } catch (error) {
      this.#end(client, error);
    }
  }

  @SubscribeMessage('text')
  text(@ConnectedSocket() client: WebSocket, @MessageBody() message: unknown): Promise<void> {
    return this.bytes(client, message);
  }

  /** The port stays open for a while, so that others may still connect. */
  beforeApplicationShutdown(): void {
    this.#stopped = goingAway();
    for (const client of this.#microphones.keys()) this.#end(client, this.#stopped);
  }

  #end(client: WebSocket, error: unknown): void {
    const microphone = this.#microphones.get(client);
    if (microphone?.ended) return;
    const reason = refusalOf(error);
    if (reason.closeCode === CLOSE.failure) this.#logger.error(error);
    // Its pending frames reject with the reason, after this.
    microphone?.end(reason);
    if (client.readyState === client.OPEN) endClient(client, reason);
  }
}
