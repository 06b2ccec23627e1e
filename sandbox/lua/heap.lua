--- A binary heap.

local Heap = {}
Heap.__index = Heap

--- before(a, b): does a come before b? Without it, entries are { due = seconds, ... }, the earliest first.
function Heap.new(before)
  return setmetatable({ n = 0, before = before or function(a, b)
    return a.due < b.due
  end }, Heap)
end

function Heap:push(entry)
  local i = self.n + 1
  self.n = i
  while i > 1 do
    local parent = (i - i % 2) / 2
    if not self.before(entry, self[parent]) then
      break
    end
    self[i] = self[parent]
    i = parent
  end
  self[i] = entry
end

function Heap:peek()
  return self[1]
end

function Heap:pop()
  local top, last = self[1], self[self.n]
  self[self.n] = nil
  self.n = self.n - 1
  if self.n > 0 then
    local i = 1
    while true do
      local child = i * 2
      if child > self.n then
        break
      end
      if child < self.n and self.before(self[child + 1], self[child]) then
        child = child + 1
      end
      if not self.before(self[child], last) then
        break
      end
      self[i] = self[child]
      i = child
    end
    self[i] = last
  end
  return top
end

return Heap
