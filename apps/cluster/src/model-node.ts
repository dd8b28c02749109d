import 'reflect-metadata';
import { Health } from '@app/serving';
import { Controller, type DynamicModule, Get, Inject, Module } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { OnnxModule } from 'nest-batching/onnx';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { TfjsModule } from 'nest-batching/tfjs';
import { DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import {
  DIGITS_NETWORK,
  digits,
  type DigitsNetwork,
  digitsOnnx,
  digitsToken,
} from '../../demo-api/src/digits/digits-network.js';
import type { NodeConfiguration } from './configuration.js';
import { nodeModules, startNode } from './node.js';

@ApiTags('health')
@Controller('health')
class HealthController {
  constructor(
    @Inject(DIGITS_NETWORK) private readonly digits: DigitsNetwork,
    @Inject(BatchingHealthIndicator) private readonly batching: BatchingHealthIndicator,
    @Inject(Health) private readonly health: Health,
  ) {}

  /** If this fails, only a restart helps: the inference worker hangs in native code and cannot be ended. */
  @Get('live')
  live(): Promise<{ status: 'live' }> {
    return this.health.check('live', [
      this.health.indicator('worker', () => this.digits.unresponsive?.message),
    ]);
  }

  /** The network answers, the broker can be reached, and no signal to end has come. */
  @Get('ready')
  ready(): Promise<{ status: 'ready' }> {
    return this.health.check('ready', [this.health.server, () => this.batching.isHealthy()]);
  }
}

/** Has the network, and takes inputs of others. Its port is for health and metrics alone. */
@Module({ providers: [DigitClassifier], controllers: [HealthController] })
class ModelNode {
  static with(configuration: NodeConfiguration): DynamicModule {
    const { backend, workers, heartbeat } = configuration;
    const { imports, providers } = nodeModules(configuration, { serve: [DigitClassifier] });
    const network =
      backend === 'onnx'
        ? [OnnxModule.forRoot({ workers, heartbeat }), OnnxModule.forFeature([digitsOnnx()])]
        : [TfjsModule.forRoot({ backend, workers, heartbeat }), TfjsModule.forFeature([digits()])];
    return {
      module: ModelNode,
      imports: [...imports, ...network],
      providers: [...providers, { provide: DIGITS_NETWORK, useExisting: digitsToken(backend) }],
    };
  }
}

await startNode((configuration) => ModelNode.with(configuration));
