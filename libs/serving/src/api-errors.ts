import { applyDecorators, type HttpException } from '@nestjs/common';
import {
  ApiExtraModels,
  ApiProperty,
  ApiPropertyOptional,
  ApiResponse,
  ApiSchema,
  getSchemaPath,
} from '@nestjs/swagger';
import { ApiError, type ErrorBody } from './api-error.js';
import { errorBodyOf } from './error-filter.js';

@ApiSchema({ name: 'Error' })
class ErrorDto implements ErrorBody {
  @ApiProperty({ type: 'integer', minimum: 400, maximum: 599 })
  statusCode!: number;

  @ApiProperty({ description: 'The name of the status' })
  error!: string;

  @ApiProperty({ description: 'What was expected and what came, for people' })
  message!: string;

  @ApiPropertyOptional({
    description: 'What it was, for programs; stays the same from version to version',
  })
  code?: string;

  @ApiPropertyOptional({
    description: 'What else there is to know',
    oneOf: [
      { type: 'object', additionalProperties: true },
      { type: 'array', items: { type: 'object', additionalProperties: true } },
    ],
  })
  details?: unknown;
}

/** An error that a route can answer with. */
export interface DocumentedError {
  /** When it comes, in a sentence. */
  readonly when: string;
  readonly example: HttpException;
}

/** What every route answers when an error comes that no code expected. */
const internal: DocumentedError = {
  when: 'A fault of the server, which is in its log.',
  example: new ApiError(
    500,
    'ERR_INTERNAL',
    'Something went wrong here, not with the request. It has been logged.',
  ),
};

const retryAfter = {
  'Retry-After': {
    description: 'Whole seconds after which to try again',
    schema: { type: 'integer' as const, minimum: 1 },
  },
};

/** Documents the errors of a route, each with its example: those given, and 500. */
export function ApiErrors(...errors: readonly DocumentedError[]): MethodDecorator {
  const all = [...errors, internal];
  const statuses = [...new Set(all.map(({ example }) => example.getStatus()))];
  return applyDecorators(
    ApiExtraModels(ErrorDto),
    ...statuses.map((status) => {
      const alike = all.filter(({ example }) => example.getStatus() === status);
      const isTemporary = alike.some(({ example }) => example instanceof ApiError && example.retryAfter);
      return ApiResponse({
        status,
        description: alike.map(({ when }) => when).join(' '),
        headers: isTemporary ? retryAfter : undefined,
        content: {
          'application/json': {
            schema: { $ref: getSchemaPath(ErrorDto) },
            examples: Object.fromEntries(
              alike.map(({ when, example }) => {
                const value = errorBodyOf(example);
                return [value.code ?? status, { summary: when, value }];
              }),
            ),
          },
        },
      });
    }),
  );
}
