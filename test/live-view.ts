import type { QueueStats } from 'nest-batching';

/** The first event of the live view. */
export async function liveView(url: string, headers: Record<string, string> = {}): Promise<LiveEvent> {
  const response = await fetch(`${url}/queues/live`, { headers });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!/^data: .*\n/m.test(text)) text += (await reader?.read())?.value ?? '';
  await reader?.cancel();
  const data = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '') as Omit<LiveEvent, 'id'>;
  return { id: /^id: (.*)$/m.exec(text)?.[1], ...data };
}

export interface LiveEvent {
  id: string | undefined;
  queues: QueueStats[];
  batches: { queue: string; size: number; reason: string; waited: number; ran: number; at: number }[];
}
