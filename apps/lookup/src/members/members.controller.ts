import { ApiErrors } from '@app/serving';
import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import { ApiBody, ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { type Batched, InjectBatched } from 'nest-batching';
import { addErrors, findErrors, receiptErrors } from '../api-errors.js';
import { ReceiptDto } from '../receipts/receipt.dto.js';
import { type Receipt, ReceiptCounter } from '../receipts/receipt-counter.js';
import { AddMember, type Member, MemberId, noSuchMember, normalEmail } from './member.js';
import { MemberDto } from './member.dto.js';
import { MemberDirectory } from './member-directory.js';

const tomas: Member = {
  id: 4711,
  name: 'Tomas Lefevre',
  email: 'tomas.lefevre.4711@example.org',
  city: 'Linz',
  born: 1964,
  joined: 2002,
};
const newcomer = { name: 'Ada Young', email: 'Ada@example.org', city: 'Bern', born: 1990 };
const id = { type: 'integer', minimum: 1, maximum: 2_147_483_647, example: 4711 } as const;

/** Each request as if it were alone. */
@ApiTags('members')
@Controller('members')
export class MembersController {
  constructor(
    @InjectBatched(MemberDirectory) private readonly members: Batched<MemberDirectory>,
    @InjectBatched(ReceiptCounter) private readonly receipts: Batched<ReceiptCounter>,
  ) {}

  @ApiOperation({
    summary: 'Look up one member',
    description: 'The requests that meet become one SELECT.',
  })
  @ApiParam({ name: 'id', schema: id })
  @ApiOkResponse({ type: MemberDto, example: tomas })
  @ApiErrors(...findErrors)
  @Get(':id')
  async find(@Param('id', MemberId) id: number): Promise<Member> {
    const member = await this.members.findById(id);
    if (!member) throw noSuchMember(id);
    return member;
  }

  @ApiOperation({
    summary: 'Add a member',
    description: 'The requests that meet become one transaction, with an answer for each.',
  })
  @ApiBody({ type: AddMember, examples: { ada: { value: newcomer } } })
  @ApiCreatedResponse({
    type: MemberDto,
    example: { ...newcomer, id: 100_001, email: 'ada@example.org', joined: 2026 },
  })
  @ApiErrors(...addErrors)
  @Post()
  add(@Body() { name, email, city, born }: AddMember): Promise<Member> {
    const joined = new Date().getFullYear();
    return this.members.add({ name, email: normalEmail(email), city, born, joined });
  }

  /** The yearly fee is paid at the desk, and each payment has a receipt. */
  @ApiOperation({
    summary: 'Number a receipt',
    description: "For this member's fee: no number is missing, and none comes twice.",
  })
  @ApiParam({ name: 'id', schema: id })
  @ApiCreatedResponse({ type: ReceiptDto, example: { receipt: 1, member: 4711 } })
  @ApiErrors(...receiptErrors)
  @Post(':id/receipts')
  async giveReceipt(@Param('id', MemberId) id: number): Promise<Receipt> {
    const member = await this.find(id);
    return this.receipts.next(member);
  }
}
