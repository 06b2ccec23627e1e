--- The rows of a query, and how many they are. SQLite answers nothing before it has found the next row, and sorted all: a query that
-- looks through many records is asked for piece after piece of the object, so that others get their turn between two.

local Heap = require "heap"
local records = require "records"
local soql = require "soql"

local M = {}

local PIECE = 5000 -- records: some milliseconds

-- Does an index lead straight to what it looks for?
local function is_found_by_index(plan)
  local found = false
  for row in records.db:rows("EXPLAIN QUERY PLAN " .. plan.sql, plan.params) do
    if row[4]:find "^SCAN .*%f[%w]base%f[%W]" then
      return false
    end
    found = found or row[4]:find "^SEARCH .*%f[%w]base%f[%W].*=%?" ~= nil
  end
  return found
end

-- What a semi-join finds would have to be found anew for each piece.
local function takes_long(plan)
  return not plan.has_join and records.id_after(plan.object.name, "", PIECE) ~= nil and not is_found_by_index(plan)
end

local function params_of(plan, from, to)
  local params = { unpack(plan.params) }
  params[#params + 1] = from
  params[#params + 1] = to or "~" -- which comes after all ids
  return params
end

-- The parameters for the pieces of an object, one after the other.
local function pieces(plan)
  local from = ""
  return function()
    if from then
      local to = records.id_after(plan.object.name, from, PIECE)
      local params = params_of(plan, from, to)
      from = to
      return params
    end
  end
end

local function unsorted(plan, pause)
  local next_piece, rows, finish = pieces(plan), nil, nil
  return function()
    while true do
      local row = rows and rows()
      if row then
        return row
      end
      local params = next_piece()
      if not params then
        return nil
      elseif rows then
        pause()
      end
      rows, finish = records.db:rows(plan.piece, params)
    end
  end, function()
    next_piece = function() end
    if finish then
      finish()
    end
  end
end

-- Which of two pieces has the next row? Among equals that of the lower ids.
local function comes_before(plan)
  local first = #plan.names
  return function(a, b)
    for i, key in ipairs(plan.keys) do
      local x, y = a.row[first + i], b.row[first + i]
      if x == nil or y == nil then
        if x ~= y then
          return (x == nil) ~= key.nulls_last
        end
      elseif x ~= y then
        return (x < y) ~= key.descends
      end
    end
    return a.number < b.number
  end
end

-- Each piece is sorted by itself, and then they are merged.
local function sorted(plan, pause)
  local heads, all = nil, {}
  local endings = records.db.endings
  local function finish()
    for _, one in ipairs(all) do
      one.finish()
    end
  end
  local function push(one)
    one.row = one.rows()
    if one.row then
      heads:push(one)
    end
  end
  return function()
    if not heads then
      heads = Heap.new(comes_before(plan))
      for params in pieces(plan) do
        local rows, finish_piece = records.db:rows(plan.piece, params)
        all[#all + 1] = { number = #all, rows = rows, finish = finish_piece }
        push(all[#all])
        pause()
      end
    end
    if records.db.endings ~= endings then
      return nil -- the rows at hand are of an org that was emptied since
    end
    local top = heads.n > 0 and heads:pop()
    local row = top and top.row
    if row then
      push(top)
    end
    return row or nil
  end, finish
end

local function cut(plan, rows, finish)
  local skip, left = plan.offset or 0, plan.limit or math.huge
  return function()
    while skip > 0 and rows() do
      skip = skip - 1
    end
    left = left - 1
    if left < 0 or skip > 0 then
      finish()
      return nil
    end
    return rows()
  end, finish
end

--- A function that gives the rows of a plan one after the other, as arrays, and one that ends the walk early. What is behind the columns
-- in an array is not for the caller. pause: lets others have their turn.
function M.rows(plan, pause)
  if not takes_long(plan) then
    return records.db:rows(plan.sql, plan.params)
  end
  return cut(plan, (#plan.keys > 0 and sorted or unsorted)(plan, pause))
end

--- How many rows a plan has; of one that counts, what it counts.
function M.count(plan, pause)
  if not takes_long(plan) then
    return records.db:first(plan.counts and plan.sql or ("SELECT count(*) FROM (%s)"):format(plan.sql), plan.params)
  end
  local count = 0
  for params in pieces(plan) do
    count = count + records.db:first(plan.count_piece, params)
    pause()
  end
  if plan.counts then
    return count
  end
  return math.min(math.max(count - (plan.offset or 0), 0), plan.limit or math.huge)
end

--- How many living records an object has. Raises a text when there is no such object.
function M.count_records(name, pause)
  records.count(name, 0)
  return M.count(soql.compile("SELECT COUNT() FROM " .. name, { rest = true }), pause)
end

--- A pause for requests.
function M.sleep()
  ngx.sleep(0.001)
end

return M
