--- A binary heap of { due = seconds, ... } entries: the earliest first.

local Heap = {}
Heap.__index = Heap

function Heap.new()
  return setmetatable({ n = 0 }, Heap)
end

function Heap:push(entry)
  local i = self.n + 1
  self.n = i
  while i > 1 do
    local parent = (i - i % 2) / 2
    if self[parent].due <= entry.due then
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
      if child < self.n and self[child + 1].due < self[child].due then
        child = child + 1
      end
      if last.due <= self[child].due then
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
