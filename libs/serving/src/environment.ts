import type { DynamicModule, Type } from '@nestjs/common';
import { ConfigModule, getConfigToken, registerAs } from '@nestjs/config';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { complaintsOf, type Show, showShort, textOf } from './validation.js';

/** The environment is not what it has to be; the message names every variable at fault. */
export class EnvironmentError extends Error {}

/**
 * The settings of an application, each read from the variable of its name: `maxDelay` from MAX_DELAY. A variable that is
 * empty counts as not set; then the property's own value stands.
 *
 * @throws {EnvironmentError} that names every variable that is not what its property's validators expect
 */
export function readEnvironment<T extends object>(
  settings: Type<T>,
  environment: NodeJS.ProcessEnv,
  show: Show = showShort,
): T {
  const given = Object.keys(new settings())
    .map((property) => [property, environment[variableOf(property)]] as const)
    .filter(([, text]) => text);
  const read = plainToInstance(settings, Object.fromEntries(given), { exposeDefaultValues: true });
  const complaints = complaintsOf(validateSync(read, { stopAtFirstError: true }), show);
  if (complaints.length === 0) return read;
  throw new EnvironmentError(
    textOf(complaints.map((complaint) => ({ ...complaint, path: variableOf(complaint.path) }))),
  );
}

/** The name of the variable that a property is read from. */
export function variableOf(property: string): string {
  return property.replaceAll(/[A-Z]/g, '_$&').toUpperCase();
}

const NAME = 'application';

/** The token of the settings that the application was created with. */
export const CONFIGURATION = getConfigToken(NAME);

/** Gives them to every module. They are read before, because they say how Nest itself is started. */
export function configurationModule(configuration: object): Promise<DynamicModule> {
  return ConfigModule.forRoot({
    isGlobal: true,
    ignoreEnvFile: true,
    ignoreEnvVars: true,
    load: [registerAs(NAME, () => configuration)],
  });
}
