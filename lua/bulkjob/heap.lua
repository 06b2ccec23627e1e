--- A heap of tables with a moment `at`: the soonest is heap[1]. An error that is raised in the middle of it, by a hook of the host or
--- when memory runs out, may leave an entry in two places, and never loses one.
local heap = {}

--- Adds an entry.
function heap.push(entries, entry)
  local i = #entries + 1
  while i > 1 do
    local parent = (i - i % 2) / 2
    if entries[parent].at <= entry.at then
      break
    end
    entries[i] = entries[parent]
    i = parent
  end
  entries[i] = entry
end

--- Removes the soonest.
function heap.drop_first(entries)
  local n = #entries
  local moved = entries[n] -- stays in its place until it has the new one
  local i = 1
  while true do
    local child = 2 * i
    if child >= n then
      break
    elseif child + 1 < n and entries[child + 1].at < entries[child].at then
      child = child + 1
    end
    if moved.at <= entries[child].at then
      break
    end
    entries[i] = entries[child]
    i = child
  end
  entries[i] = moved
  entries[n] = nil
end

return heap
