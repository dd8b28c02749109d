import type { DiscoveryService } from '@nestjs/core';
import { type ModelReport, modelReportOf } from '../core/application.js';

/** The reports of all models that an application provides, whatever runs them. */
export function reportedModels(discovery: DiscoveryService): ModelReport[] {
  const instances = discovery
    .getProviders()
    // A provider of another scope has an empty object here, with its prototype.
    .filter((provider) => provider.isDependencyTreeStatic())
    .map((provider) => provider.instance as unknown);
  // An alias (`useExisting`) has the same instance.
  return [...new Set(instances)].flatMap((instance) => modelReportOf(instance) ?? []);
}
