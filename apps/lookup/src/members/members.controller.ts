import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import { type Receipt, ReceiptCounter } from '../receipts/receipt-counter.js';
import { checkId, type Member, memberSchema, noSuchMember, normalEmail } from './member.js';
import { MemberDirectory } from './member-directory.js';

/** Each request as if it were alone. */
@Controller('members')
export class MembersController {
  constructor(
    @InjectBatched(MemberDirectory) private readonly members: Batched<MemberDirectory>,
    @InjectBatched(ReceiptCounter) private readonly receipts: Batched<ReceiptCounter>,
  ) {}

  @Get(':id')
  async find(@Param('id') id: string): Promise<Member> {
    const member = await this.members.findById(checkId(id));
    if (!member) throw noSuchMember(Number(id));
    return member;
  }

  @Post()
  add(@Body() body: unknown): Promise<Member> {
    const given = memberSchema.check(body);
    const email = normalEmail(given.email);
    return this.members.add({ ...given, email, joined: new Date().getFullYear() });
  }

  /** The yearly fee is paid at the desk, and each payment has a receipt. */
  @Post(':id/receipts')
  async giveReceipt(@Param('id') id: string): Promise<Receipt> {
    const member = await this.find(id);
    return this.receipts.next(member);
  }
}
