import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { plainToInstance } from 'class-transformer';
import { IsInt, IsNumber, IsOptional, Min, validateSync } from 'class-validator';
import { BatchingModule } from 'nest-batching';

/** What is not set stays as the decorator has it. */
class Environment {
  @IsOptional() @IsInt() @Min(1) PRICES_BATCH_SIZE?: number;
  @IsOptional() @IsNumber() @Min(0) PRICES_MAX_DELAY?: number;
  @IsOptional() @IsInt() @Min(1) MAX_QUEUED?: number;
}

/** Environment variables are strings: this makes numbers of them. */
export function validate(variables: Record<string, unknown>): Environment {
  const environment = plainToInstance(Environment, variables, { enableImplicitConversion: true });
  const problems = validateSync(environment).flatMap(({ constraints }) => Object.values(constraints ?? {}));
  if (problems.length > 0) throw new Error(problems.join('; '));
  return environment;
}

@Module({
  imports: [
    ConfigModule.forRoot({ validate }),
    BatchingModule.forRootAsync({
      imports: [ConfigModule],
      inject: [ConfigService],
      useFactory: (config: ConfigService<Environment, true>) => ({
        defaults: { maxQueued: config.get('MAX_QUEUED') },
        queues: {
          'Prices.of': {
            batchSize: config.get('PRICES_BATCH_SIZE'),
            maxDelay: config.get('PRICES_MAX_DELAY'),
          },
        },
      }),
    }),
  ],
})
export class SettingsModule {}
