import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { BatchedService, BatchingRegistry } from 'nest-batching';
import type { Member, NewMember } from './member.js';
import { MemberDatabase } from './member-database.js';

/**
 * Looks members up and adds them, a whole batch at a time; `Batched<MemberDirectory>` does so one at a time.
 *
 * No input waits for others here (`maxDelay` 0): what has come in by the end of the poll phase travels together, and what
 * comes while a batch runs is the next one.
 */
@Injectable()
export class MemberDirectory implements OnApplicationShutdown {
  constructor(
    private readonly database: MemberDatabase,
    private readonly registry: BatchingRegistry,
  ) {}

  /** One SELECT. The result of an id without a member is null. */
  @BatchedService(256, 0)
  async findById(ids: readonly number[]): Promise<(Member | null)[]> {
    const members = await this.database.find([...new Set(ids)]);
    const byId = new Map(members.map((member) => [member.id, member]));
    return ids.map((id) => byId.get(id) ?? null);
  }

  /** One transaction. A member that the database refuses gets its own error, and the others are stored. */
  @BatchedService(256, 0)
  async add(members: readonly NewMember[]): Promise<(Member | Error)[]> {
    return this.database.insert(members);
  }

  /** After the last batch, which still needs it. */
  async onApplicationShutdown(): Promise<void> {
    await this.registry.stop();
    await this.database.close();
  }
}
