--- A queue, first in, first out. No error that is raised in the middle of it can break it: by a hook of the host after any
--- instruction, or when memory runs out. An item is in the queue while it stands in its slot, and one assignment puts it there or
--- removes it. `from` and `to` only say where to look, and may be behind: no item is before `from`, and each one is before `to`, or
--- every slot from there up to the item is taken.
local queue = {}

---@class bulkjob.Queue
---@field package slots table
---@field package from integer
---@field package to integer

--- An empty queue.
---@return bulkjob.Queue
function queue.new()
  return { slots = {}, from = 1, to = 1 }
end

--- Puts an item at the end.
---@return integer place
function queue.put(self, item)
  local slots = self.slots
  local i = math.max(self.from, self.to)
  while slots[i] ~= nil do
    i = i + 1
  end
  slots[i] = item
  self.to = i + 1
  return i
end

--- The first item, which stays where it is; with `from`, the first at that place or behind it.
---@param from integer|nil
---@return any item nil: there is none
---@return integer place
function queue.first(self, from)
  local slots = self.slots
  local i = from or self.from
  while slots[i] == nil and i < self.to do
    i = i + 1
  end
  if not from then
    self.from = i
  end
  return slots[i], i
end

--- Removes what is at this place.
---@param place integer
function queue.remove(self, place)
  if self.to <= place then
    self.to = place + 1
  end
  self.slots[place] = nil
end

--- Is the item at this place?
---@param place integer
---@return boolean
function queue.holds(self, place, item)
  return self.slots[place] == item
end

return queue
