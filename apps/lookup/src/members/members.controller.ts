import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import { type Receipt, ReceiptCounter } from '../receipts/receipt-counter.js';
import { AddMember, type Member, MemberId, noSuchMember, normalEmail } from './member.js';
import { MemberDirectory } from './member-directory.js';

/** Each request as if it were alone. */
@Controller('members')
export class MembersController {
  constructor(
    @InjectBatched(MemberDirectory) private readonly members: Batched<MemberDirectory>,
    @InjectBatched(ReceiptCounter) private readonly receipts: Batched<ReceiptCounter>,
  ) {}

  @Get(':id')
  async find(@Param('id', MemberId) id: number): Promise<Member> {
    const member = await this.members.findById(id);
    if (!member) throw noSuchMember(id);
    return member;
  }

  @Post()
  add(@Body() { name, email, city, born }: AddMember): Promise<Member> {
    const joined = new Date().getFullYear();
    return this.members.add({ name, email: normalEmail(email), city, born, joined });
  }

  /** The yearly fee is paid at the desk, and each payment has a receipt. */
  @Post(':id/receipts')
  async giveReceipt(@Param('id', MemberId) id: number): Promise<Receipt> {
    const member = await this.find(id);
    return this.receipts.next(member);
  }
}
