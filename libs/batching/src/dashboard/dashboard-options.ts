import type { CanActivate, ModuleMetadata, Type } from '@nestjs/common';
import { checkCount, checkType, naming, show } from '../core/checks.js';

/** Options of `BatchingDashboardModule.forRoot()`. */
export interface BatchingDashboardOptions {
  /** Where the page is, below the application's global prefix if it has one. Default: `batching`. */
  path?: string;
  /**
   * Whether viewers may change `batchSize`, `maxDelay` and `dispatch` of the queues. A change is logged and
   * lasts until the process ends. Default `false`: they can only look.
   */
  tune?: boolean;
  /**
   * Guards of the page and all that belongs to it, as for `@UseGuards()`. Their dependencies come from `imports`
   * or from global modules. Default: none.
   */
  guards?: (Type<CanActivate> | CanActivate)[];
  /** Modules that export what the guards inject. */
  imports?: ModuleMetadata['imports'];
  /**
   * Allows `tune` without `guards`: where a global guard or a proxy keeps others out, or everybody may change
   * the queues. Default `false`.
   */
  unguarded?: boolean;
  /** Pages that may be open at the same time, an integer ≥ 1 or `Infinity`; others get 503. Default 100. */
  maxViewers?: number;
}

/** The options, checked and complete. */
export type DashboardOptions = Required<BatchingDashboardOptions>;

/** The injection token of the options. */
export const DASHBOARD_OPTIONS = 'options of BatchingDashboardModule.forRoot()';

/**
 * @throws TypeError or RangeError for an option that makes no sense, or for `tune` that nothing protects
 */
export function checkDashboardOptions(options: BatchingDashboardOptions): DashboardOptions {
  return naming('BatchingDashboardModule.forRoot()', () => {
    if (typeof options !== 'object' || (options as unknown) === null) {
      throw new TypeError(`options: expected an object, got ${show(options)}`);
    }
    const {
      path = 'batching',
      tune = false,
      guards = [],
      imports = [],
      unguarded = false,
      maxViewers = 100,
    } = options;
    checkPath(path);
    checkType('tune', 'boolean', tune);
    checkType('unguarded', 'boolean', unguarded);
    checkCount('maxViewers', maxViewers, 1);
    if (!Array.isArray(guards) || !guards.every(isGuard)) {
      throw new TypeError(`guards: expected an array of guards, got ${show(guards)}`);
    }
    if (tune && guards.length === 0 && !unguarded) {
      throw new TypeError(
        'tune: expected guards, got none: without them, anyone who can open the page could change the queues; ' +
          'set unguarded: true if a global guard or a proxy protects the page',
      );
    }
    return { path, tune, guards, imports, unguarded, maxViewers };
  });
}

/** A path as it stands in a URL, without anything that a router takes for a pattern. */
function checkPath(path: string): void {
  checkType('path', 'string', path);
  if (!/^\/?[\w.~-]+(\/[\w.~-]+)*$/.test(path)) {
    throw new RangeError(`path: expected a path as 'batching' or 'admin/batching', got ${show(path)}`);
  }
}

function isGuard(guard: unknown): boolean {
  const canActivate = (owner: unknown) =>
    typeof (owner as Partial<CanActivate> | null)?.canActivate === 'function';
  return typeof guard === 'function' ? canActivate(guard.prototype) : canActivate(guard);
}
