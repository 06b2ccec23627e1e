--- Figures that have limits: each is measured three times, and the median counts.
local core = require "bulkjob.core"

local figures = {}

local RUNS = 3

--- The value below which the share `q` of a list lies. Sorts the list.
function figures.quantile(list, q)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * q))]
end

local pause

--- Blocks this program until that moment on the clock of core.now.
function figures.sleep_till(moment)
  pause = pause or core.channel()
  pause:till(moment)
  pause:sleep()
end

local function verdict(figure, value)
  if figure.least then
    return value >= figure.least, (">= %g"):format(figure.least)
  elseif figure.most then
    return value <= figure.most, ("<= %g"):format(figure.most)
  end
  return true
end

local function print_figure(figure, values)
  local all = {}
  for i, value in ipairs(values) do
    all[i] = ("%.3g"):format(value)
  end
  local median = figures.quantile(values, 0.5)
  local good, limit = verdict(figure, median)
  print(("  %-62s %8.3g %-2s  %-8s %-13s (%s)"):format(figure.name, median, figure.unit, limit or "",
    limit and (good and "holds" or "DOES NOT HOLD") or "", table.concat(all, ", ")))
  return good
end

--- Runs the cases whose names contain `only` (nil: all). A case is { name =, figures = { { name =, unit =, most = or least = }, … },
--- run = function } where `run` answers one value for each figure. True if all limits hold.
function figures.run(cases, only)
  local good = true
  print(("%s, medians of %d"):format(jit and jit.version or _VERSION, RUNS))
  for _, case in ipairs(cases) do
    if not only or case.name:find(only, 1, true) then
      print(case.name)
      local values = {}
      for run = 1, RUNS do
        for i, value in ipairs { case.run() } do
          values[i] = values[i] or {}
          values[i][run] = value
        end
      end
      for i, figure in ipairs(case.figures) do
        good = print_figure(figure, values[i]) and good
      end
    end
  end
  return good
end

return figures
