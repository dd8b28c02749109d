/**
 * What has to happen at once in Redis, in Lua. Streams, by the keys of `Keys`:
 *
 *     inputs:SERVICE   one entry per input: `p` the message, `d` how often it was delivered under an earlier id;
 *                      read by the consumer group, acknowledged and deleted when the input has ended
 *     answers:CALLER   entries: `a` many answers; `m` an input that has another id now
 *     nodes            sorted set: the nodes that serve something, by the time of their last sign of life
 *     node:NODE        what a node serves, as JSON
 */
export const GROUP = 'nodes';

/**
 * Adds inputs while the stream has less than `bound` entries.
 *
 * KEYS: inputs. ARGV: bound, keep (ms), messages. Returns the ids as one text, `-` where there was no room: clients read one
 * text faster than many.
 */
export const SEND = `
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local ids = {}
for i = 3, #ARGV do
  if room > 0 then
    ids[i - 2] = redis.call('XADD', KEYS[1], '*', 'p', ARGV[i])
    room = room - 1
  else
    ids[i - 2] = '-'
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return table.concat(ids, ' ')`;

/**
 * Adds answers, one entry per caller, and then acknowledges and deletes the inputs: if Redis has no memory for an answer,
 * its input stays. The stream of a caller that is gone has expired, and is not made anew. Then takes the next inputs, which
 * saves a node that is busy a command for each batch.
 *
 * KEYS: inputs, answers of each caller. ARGV: ids as one text, own name, most inputs to take, then the answers of each caller
 * as one. Returns the entries taken.
 */
export const ANSWER = `
for i = 2, #KEYS do redis.call('XADD', KEYS[i], 'NOMKSTREAM', '*', 'a', ARGV[i + 2]) end
local ack = { 'XACK', KEYS[1], '${GROUP}' }
local del = { 'XDEL', KEYS[1] }
for id in string.gmatch(ARGV[1], '%S+') do
  ack[#ack + 1] = id
  del[#del + 1] = id
end
redis.call(unpack(ack))
redis.call(unpack(del))
if ARGV[3] == '0' then return {} end
local read = redis.pcall('XREADGROUP', 'GROUP', '${GROUP}', ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
return read and read[1] and read[1][2] or {}`;

/** Inputs and answers of one script at most: Lua passes no more than some thousands of arguments to a command. */
export const MOST_PER_SCRIPT = 1000;

/**
 * A sign of life, and what there is to know.
 *
 * KEYS: nodes, own answers, inputs of the services that concern this node. ARGV: own name, what it serves as JSON or an
 * empty text, time after which a node is forgotten (ms), keep (ms), prefix of the keys of nodes.
 *
 * Returns: the time (ms), whether the own answers are there, [node, ms since its last sign of life, JSON, …],
 * [entries, entries that a node has, …] for each of the inputs.
 */
export const BEAT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('SET', ARGV[5] .. ARGV[1], ARGV[2], 'PX', ARGV[4])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
local has = redis.call('PEXPIRE', KEYS[2], ARGV[4])
local nodes = {}
local known = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #known, 2 do
  nodes[#nodes + 1] = known[i]
  nodes[#nodes + 1] = now - tonumber(known[i + 1])
  nodes[#nodes + 1] = redis.call('GET', ARGV[5] .. known[i]) or ''
end
local inputs = {}
for i = 3, #KEYS do
  inputs[#inputs + 1] = redis.call('XLEN', KEYS[i])
  local pending = redis.pcall('XPENDING', KEYS[i], '${GROUP}')
  inputs[#inputs + 1] = pending.err and 0 or pending[1]
  if ARGV[2] ~= '' then redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
end
return { now, has, nodes, inputs }`;

/** In scripts below: the message of an entry, and how often it was delivered under an earlier id. */
const READ_ENTRY = `
local function readEntry(fields)
  local message, before = '', 0
  for i = 1, #fields, 2 do
    if fields[i] == 'p' then message = fields[i + 1] end
    if fields[i] == 'd' then before = tonumber(fields[i + 1]) end
  end
  return message, before
end`;

/**
 * Takes over inputs of nodes that have given no sign of life for too long, and removes those of which nothing is
 * left. A node that nobody knows of is one of them: the broker has forgotten it, or it has left. Of the inputs that run alone
 * it takes one at most: the others keep their count of deliveries should this one end the node.
 *
 * KEYS: inputs, nodes. ARGV: own name, silence (ms), most inputs, most of them that run alone, deliveries before those that
 * run alone, and before one that is refused. Returns [whether it left some that run alone, id, deliveries before this one,
 * message, deliveries under an earlier id, …].
 */
export const CLAIM = `${READ_ENTRY}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room, alone = tonumber(ARGV[3]), tonumber(ARGV[4])
local fromAlone, fromRefused = tonumber(ARGV[5]), tonumber(ARGV[6])
local claimed = { 0 }
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], '${GROUP}')
if consumers.err then return claimed end
for _, consumer in ipairs(consumers) do
  local name = consumer[2]
  local last = redis.call('ZSCORE', KEYS[2], name)
  if name ~= ARGV[1] and (not last or now - last > tonumber(ARGV[2])) then
    local pending = room > 0 and redis.call('XPENDING', KEYS[1], '${GROUP}', '-', '+', 10000, name) or {}
    for _, entry in ipairs(pending) do
      if room == 0 then break end
      local id, count = entry[1], entry[4]
      local found = redis.call('XRANGE', KEYS[1], id, id)[1]
      if found then
        local message, before = readEntry(found[2])
        local runsAlone = count + before >= fromAlone and count + before < fromRefused
        if runsAlone and alone == 0 then
          claimed[1] = 1
        else
          redis.call('XCLAIM', KEYS[1], '${GROUP}', ARGV[1], 0, id, 'RETRYCOUNT', count + 1, 'JUSTID')
          room = room - 1
          if runsAlone then alone = alone - 1 end
          claimed[#claimed + 1] = id
          claimed[#claimed + 1] = count
          claimed[#claimed + 1] = message
          claimed[#claimed + 1] = before
        end
      else
        redis.call('XACK', KEYS[1], '${GROUP}', id)
      end
    end
    if redis.call('XPENDING', KEYS[1], '${GROUP}', '-', '+', 1, name)[1] == nil then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], '${GROUP}', name)
    end
  end
end
return claimed`;

/**
 * What Redis has given to this node and never arrived there, as the reply was lost with its connection.
 *
 * KEYS: inputs. ARGV: own name, ids of what has arrived. Returns the same as CLAIM, without its first value.
 */
export const MISSED = `${READ_ENTRY}
local has = {}
for i = 2, #ARGV do has[ARGV[i]] = true end
local missed = {}
local pending = redis.pcall('XPENDING', KEYS[1], '${GROUP}', '-', '+', 100000, ARGV[1])
if pending.err then return missed end
for _, entry in ipairs(pending) do
  local id = entry[1]
  local found = not has[id] and redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    local message, before = readEntry(found[2])
    missed[#missed + 1] = id
    missed[#missed + 1] = entry[4] - 1
    missed[#missed + 1] = message
    missed[#missed + 1] = before
  end
end
return missed`;

/**
 * Gives back inputs that this node has and that are not among those to keep: each gets a new entry, as there is no
 * other way to return one to its group, and its caller is told the new id. The delivery that is given back does not count.
 *
 * KEYS: inputs. ARGV: own name, prefix of the keys of answers, ids to keep. Returns the number given back.
 */
export const GIVE_BACK = `${READ_ENTRY}
local keep = {}
for i = 3, #ARGV do keep[ARGV[i]] = true end
local count = 0
local pending = redis.pcall('XPENDING', KEYS[1], '${GROUP}', '-', '+', 100000, ARGV[1])
if pending.err then return 0 end
for _, entry in ipairs(pending) do
  local id = entry[1]
  if not keep[id] then
    local found = redis.call('XRANGE', KEYS[1], id, id)[1]
    if found then
      local message, before = readEntry(found[2])
      local deliveries = before + entry[4] - 1
      local new
      if deliveries > 0 then
        new = redis.call('XADD', KEYS[1], '*', 'p', message, 'd', deliveries)
      else
        new = redis.call('XADD', KEYS[1], '*', 'p', message)
      end
      local length = string.byte(message, 2) or 0
      local caller = string.sub(message, 3, 2 + length)
      local a, b, c, d = string.byte(message, 3 + length, 6 + length)
      if d then
        local number = ((a * 256 + b) * 256 + c) * 256 + d
        redis.call('XADD', ARGV[2] .. caller, 'NOMKSTREAM', '*', 'm', string.format('%.0f %s', number, new))
      end
      count = count + 1
    end
    redis.call('XACK', KEYS[1], '${GROUP}', id)
    redis.call('XDEL', KEYS[1], id)
  end
end
return count`;

/**
 * Looks for inputs. A script, so that their messages are not sent.
 *
 * KEYS: inputs. ARGV: ids. Returns a text with 1 for each that is there, else 0.
 */
export const LOOK = `
local found = {}
for i, id in ipairs(ARGV) do
  found[i] = #redis.call('XRANGE', KEYS[1], id, id)
end
return table.concat(found)`;

/** Removes a node that has nothing left. KEYS: nodes, node. ARGV: own name. */
export const LEAVE = `
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1`;

/** Makes the stream of answers if it is not there. KEYS: answers. ARGV: keep (ms). Returns whether it was not there. */
export const ENTER = `
local isNew = redis.call('EXISTS', KEYS[1]) == 0
if isNew then redis.call('XADD', KEYS[1], '*', 'h', '') end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return isNew and 1 or 0`;
