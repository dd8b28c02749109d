import type { Type } from '@nestjs/common';
import { getSchemaPath, type SchemaObject } from '@nestjs/swagger';

/**
 * The schema of server-sent events. OpenAPI 3.0 knows them as a text only; what the data of each event is stands in
 * `x-events`, for people and programs.
 *
 * @param events the type of each event's data by the event's name; `message` is that of an event without a name
 */
export function eventSchema(events: Readonly<Record<string, Type | string>>): SchemaObject {
  const schemas = Object.entries(events).map(([name, type]) => [name, { $ref: getSchemaPath(type) }]);
  const list = Object.entries(events).map(
    ([name, type]) => `\`${name}\`: \`${typeof type === 'string' ? type : type.name.replace(/Dto$/, '')}\``,
  );
  const schema = {
    type: 'string' as const,
    description: `Server-sent events, with data in JSON: ${list.join(', ')}.`,
    'x-events': Object.fromEntries(schemas) as object,
  };
  return schema;
}
