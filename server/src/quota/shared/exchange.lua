-- One exchange of a replica with the counters that all replicas share: it tells what was used and what it holds, and asks
-- for room for its calls. All of it happens at once. The replicas' side is `state.rs`; `model.rs` says the same in Rust.
--
-- keys[1]    hash: `clock`, the latest time told; `o:<owner>`, until when each replica counts as alive; `e`, the era: a new
--            one begins when this is lost or another server has taken over; `r`, the history of writes that it belongs to
-- keys[2]    what this replica was last answered, with its sequence number: an exchange that is repeated changes nothing
-- keys[3..]  one hash per counter:
--              i, e        id of this incarnation, and its era: another one means that what was known is lost, or its end
--              p           start of the calendar period
--              q           until when nothing is granted, because the replicas tell anew what they know
--              x, y        who waits for room that others hold free, and until when
--              s:<ledger>  calendar periods: what was used, by the ledger that has the records
--              b:<ledger>  the part of that which was known before this incarnation
--              w:<slot>    sliding windows: what was used in this slot of time
--              v:<slot>    the same, as it was known before this incarnation; the larger one counts
--              h:<owner>   what a replica holds: its running calls' reservations and its free leases
--              f:<owner>   the free part of it
-- Numbers are whole. What is kept is added by Redis in 64 bits; what is compared is exact below 2^53.

local SLOTS = 60
local QUIET_MS = 250
local RECALL_MS = 100
-- How long an answer is kept for the case that the question is repeated: longer than any replica asks.
local KEPT_MS = 86400000
-- A lease is at most this part of what is left for each replica.
local SHARES = 20

local function whole(number)
  return string.format('%.0f', number)
end

local function fields_of(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for n = 1, #flat, 2 do
    fields[flat[n]] = flat[n + 1]
  end
  return fields
end

-- Tells which history of writes this server goes on with: another one after it has started anew, or has taken over from
-- another, and then the last that was told may be missing. Absent where that may not be asked.
local function history()
  local told = redis.pcall('INFO', 'replication')
  return type(told) == 'string' and string.match(told, 'master_replid:(%x+)') or nil
end

-- Reads the time and who is alive, and notes that this replica is.
local function attend(key, owner, ttl)
  local time = redis.call('TIME')
  local stamp = time[1] * 1000000 + time[2]
  local now = math.floor(stamp / 1000)
  local fields = fields_of(key)
  -- A clock that goes back stands still here.
  now = math.max(now, tonumber(fields.clock or 0))
  local alive, count = { [owner] = true }, 1
  for field, till in pairs(fields) do
    local other = string.match(field, '^o:(.*)$')
    if other and other ~= owner then
      alive[other] = tonumber(till) > now
      if alive[other] then
        count = count + 1
      elseif tonumber(till) + ttl < now then
        redis.call('HDEL', key, field)
      end
    end
  end
  local era, written = fields.e, history() or fields.r or ''
  if not era or fields.r ~= written then
    era = whole(stamp)
    redis.call('HSET', key, 'e', era, 'r', written)
  end
  redis.call('HSET', key, 'clock', whole(now), 'o:' .. owner, whole(now + ttl))
  -- Who lived before this era may not have spoken yet.
  local knows_all = now - math.floor(tonumber(era) / 1000) > ttl
  return { now = now, stamp = stamp, owner = owner, alive = alive, owners = count, era = era, knows_all = knows_all }
end

-- Sets what is known aside: it is told anew, and some of it may be new.
local function set_aside(counter, fields)
  local aside = {}
  for field, value in pairs(fields) do
    local kind, name = string.match(field, '^([sw]):(.*)$')
    if kind == 's' then
      aside['b:' .. name] = value
    elseif kind then
      aside['v:' .. name] = whole(math.max(tonumber(value), tonumber(fields['v:' .. name] or 0)))
      redis.call('HDEL', counter.key, field)
      fields[field] = nil
    end
  end
  for field, value in pairs(aside) do
    redis.call('HSET', counter.key, field, value)
    fields[field] = value
  end
end

-- Starts a counter that is not there, or not any more; a new calendar period forgets the one before.
local function open(counter, fields, moment)
  local is_old = fields.i and fields.e ~= moment.era
  if is_old then
    set_aside(counter, fields)
  end
  if is_old or not fields.i then
    fields.i = whole(moment.stamp)
    redis.call('HSET', counter.key, 'i', fields.i, 'e', moment.era)
    if is_old or counter.id ~= 0 then
      -- It was there: all who know of it tell what they know before anything is granted.
      fields.q = whole(moment.now + QUIET_MS)
      redis.call('HSET', counter.key, 'q', fields.q)
      counter.lost = true
    end
  end
  -- Who knows another incarnation first learns of this one, and then tells all it knows.
  counter.strange = counter.id ~= 0 and counter.id ~= tonumber(fields.i)
  counter.quiet = tonumber(fields.q or 0) > moment.now
  counter.again = counter.strange or counter.quiet
  counter.id = tonumber(fields.i)
  counter.period = tonumber(fields.p or 0)
  if counter.kind == 'c' and counter.start > counter.period then
    for field in pairs(fields) do
      if string.find(field, '^[sbhf]:') then
        redis.call('HDEL', counter.key, field)
        fields[field] = nil
      end
    end
    counter.period = counter.start
    redis.call('HSET', counter.key, 'p', whole(counter.start))
  end
  -- What a replica tells of a period that is over for others is of no interest.
  counter.late = counter.kind == 'c' and counter.start < counter.period
  counter.slot_now = counter.kind == 's' and math.floor(moment.now / counter.start)
end

local function add(counter, fields, field, amount)
  fields[field] = redis.call('HINCRBY', counter.key, field, amount)
end

-- Takes in what the replica tells: what the ledgers say, and what it used.
local function hear(counter, fields, ledger, word, number)
  local heard = not counter.late and not counter.strange
  for _ = 1, number() do
    local name, value = word(), word()
    -- While all tell anew what they knew before, what is used meanwhile comes on top of that.
    local known = (counter.quiet and 'b:' or 's:') .. name
    local more = tonumber(value) - tonumber(fields[known] or 0)
    if heard and more > 0 then
      add(counter, fields, 's:' .. name, whole(more))
      if counter.quiet then
        redis.call('HSET', counter.key, known, value)
        fields[known] = value
      end
    end
  end
  for _ = 1, number() do
    local slot, amount = number(), word()
    if heard and counter.kind == 'c' then
      add(counter, fields, 's:' .. ledger, amount)
    elseif heard and counter.slot_now and slot + SLOTS >= counter.slot_now then
      add(counter, fields, 'w:' .. whole(math.min(slot, counter.slot_now)), amount)
    end
  end
end

-- Sums what is used and what living replicas hold; what has left the window, and what the dead held, goes.
local function sum(counter, fields, moment)
  local used, reserved, free, slots, by_slot = 0, 0, 0, {}, {}
  for field, value in pairs(fields) do
    local kind, name = string.match(field, '^([svwhf]):(.*)$')
    local amount = kind and tonumber(value)
    if kind == 's' then
      used = used + amount
    elseif kind == 'v' or kind == 'w' then
      local slot = tonumber(name)
      if slot + SLOTS < counter.slot_now then
        redis.call('HDEL', counter.key, field)
      else
        by_slot[slot] = math.max(by_slot[slot] or 0, amount)
      end
    elseif kind and name ~= moment.owner then
      if moment.alive[name] == false or (moment.alive[name] == nil and moment.knows_all) then
        redis.call('HDEL', counter.key, field)
      elseif kind == 'h' then
        reserved = reserved + amount
      else
        free = free + amount
      end
    end
  end
  for slot, amount in pairs(by_slot) do
    used = used + amount
    slots[#slots + 1] = { slot, amount }
  end
  counter.used, counter.reserved, counter.free_of_others, counter.slots = used, reserved - free, free, slots
  if counter.late then
    counter.held, counter.free = 0, 0
  end
  counter.room = counter.limit - used - reserved - counter.held
end

-- Tells those who wait that there is room, if this replica held it free until now.
local function return_room(counter, fields, moment, channel)
  local waits = tonumber(fields.y or 0) > moment.now
  local had = tonumber(fields['f:' .. moment.owner] or 0)
  if waits and fields.x ~= moment.owner and counter.free < had then
    redis.call('HDEL', counter.key, 'x', 'y')
    redis.call('PUBLISH', channel, 'room ' .. counter.key)
    waits = false
  end
  counter.awaited = waits and fields.x ~= moment.owner
end

local function read(counter, moment, ledger, channel, word, number)
  counter.kind, counter.start, counter.limit = word(), number(), number()
  counter.id, counter.held, counter.free, counter.wish = number(), number(), number(), number()
  counter.keep = word()
  local fields = fields_of(counter.key)
  open(counter, fields, moment)
  hear(counter, fields, ledger, word, number)
  sum(counter, fields, moment)
  return_room(counter, fields, moment, channel)
  counter.ledgers = {}
  for field, value in pairs(fields) do
    local name = string.match(field, '^s:(.*)$')
    if name then
      counter.ledgers[#counter.ledgers + 1] = name
      counter.ledgers[#counter.ledgers + 1] = type(value) == 'number' and whole(value) or value
    end
  end
end

-- Returns the milliseconds until so much has left a sliding window; -1 if that cannot be known.
local function wait_for(counter, amount, now)
  if counter.kind ~= 's' or amount > counter.limit then
    return -1
  end
  local excess = amount - counter.room
  table.sort(counter.slots, function(a, b) return a[1] < b[1] end)
  for _, slot in ipairs(counter.slots) do
    excess = excess - slot[2]
    if excess <= 0 then
      return (slot[1] + SLOTS + 1) * counter.start - now
    end
  end
  -- What is held is used within this slot, or never.
  return (counter.slot_now + SLOTS + 1) * counter.start - now
end

-- Grants a claim all it asks for, or nothing. Returns 0, or the counter that is short and the wait, or -1: ask again.
local function claim(counters, charges, moment, channel)
  local short
  for _, charge in ipairs(charges) do
    local counter = counters[charge[1]]
    if counter.again then
      return -1, 0
    end
    if not short and counter.limit >= 0 and counter.room < charge[2] then
      short = charge
    end
  end
  if not short then
    for _, charge in ipairs(charges) do
      local counter = counters[charge[1]]
      counter.room, counter.held = counter.room - charge[2], counter.held + charge[2]
    end
    return 0, 0
  end
  local counter = counters[short[1]]
  if counter.free_of_others > 0 and not counter.recalled then
    counter.recalled = true
    redis.call('HSET', counter.key, 'x', moment.owner, 'y', whole(moment.now + RECALL_MS))
    redis.call('PUBLISH', channel, 'recall ' .. counter.key)
  end
  return short[1], wait_for(counter, short[2], moment.now)
end

-- Grants a lease ahead if there is plenty, and writes down what this replica holds.
local function close(counter, moment)
  local lease = 0
  if counter.wish > 0 and counter.limit >= 0 and not counter.again and not counter.awaited and not counter.recalled then
    lease = math.min(counter.wish, math.floor(counter.room / (SHARES * moment.owners)))
    lease = math.max(lease, 0)
  end
  local held, free = counter.held + lease, counter.free + lease
  if held == 0 then
    redis.call('HDEL', counter.key, 'h:' .. moment.owner, 'f:' .. moment.owner)
  else
    redis.call('HSET', counter.key, 'h:' .. moment.owner, whole(held), 'f:' .. moment.owner, whole(free))
  end
  redis.call('PEXPIRE', counter.key, counter.keep)
  return lease
end

local function exchange(keys, args)
  local at = 0
  local function word()
    at = at + 1
    return args[at]
  end
  local function number()
    return tonumber(word())
  end
  local owner, sequence, ttl, ledger, channel = word(), number(), number(), word(), word()
  local last = redis.call('GET', keys[2])
  if last then
    local kept = cmsgpack.unpack(last)
    if kept[1] == sequence then
      return kept[2]
    elseif kept[1] > sequence then
      return redis.error_reply('STALE this exchange is over')
    end
  end

  local moment = attend(keys[1], owner, ttl)
  local counters, lost = {}, false
  for n = 1, #keys - 2 do
    counters[n] = { key = keys[n + 2] }
    read(counters[n], moment, ledger, channel, word, number)
    lost = lost or counters[n].lost
  end
  local verdicts = {}
  for _ = 1, number() do
    local charges = {}
    for n = 1, number() do
      charges[n] = { number(), number() }
    end
    local verdict, wait = claim(counters, charges, moment, channel)
    verdicts[#verdicts + 1] = verdict
    verdicts[#verdicts + 1] = wait
  end

  local reply = { moment.now, moment.owners }
  local function tell(...)
    for _, value in ipairs({ ... }) do
      reply[#reply + 1] = value
    end
  end
  for _, counter in ipairs(counters) do
    local lease = close(counter, moment)
    tell(counter.id, counter.period, counter.used, counter.reserved, counter.free_of_others, lease, #counter.ledgers / 2)
    tell(unpack(counter.ledgers))
  end
  tell(unpack(verdicts))
  if lost then
    redis.call('PUBLISH', channel, 'rebuild')
  end
  redis.call('SET', keys[2], cmsgpack.pack({ sequence, reply }), 'PX', KEPT_MS)
  return reply
end
