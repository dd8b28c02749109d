import { readEnvironment, showShort } from '@app/serving';
import { registerDecorator } from 'class-validator';
import { Configuration } from '../../demo-api/src/configuration.js';
import { hideUrl, schemesOf, transportOf } from './broker-url.js';

/** The settings of a node: those of the demo, and the broker. See README.md. */
export class NodeConfiguration extends Configuration {
  /** Over which the nodes meet. It has to be set: nodes that each took a default of their own would never meet. */
  @BrokerUrl() readonly brokerUrl: string = '';
  /** Two applications with different ones may share a broker. */
  readonly prefix: string = 'digits';
}

/** @throws {EnvironmentError} that names every variable that is not what it may be */
export function readNodeConfiguration(environment: NodeJS.ProcessEnv): NodeConfiguration {
  const { BROKER_URL } = environment;
  return readEnvironment(NodeConfiguration, environment, (value) =>
    BROKER_URL && value === BROKER_URL ? hideUrl(BROKER_URL) : showShort(value),
  );
}

function BrokerUrl(): PropertyDecorator {
  return (target, property) => {
    registerDecorator({
      name: 'brokerUrl',
      target: target.constructor,
      propertyName: String(property),
      options: { message: `the URL of a broker, ${schemesOf()}` },
      validator: { validate: (value) => typeof value === 'string' && transportOf(value) !== undefined },
    });
  };
}
