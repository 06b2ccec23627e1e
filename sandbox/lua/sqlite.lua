--- SQLite through LuaJIT's FFI: prepared statements and values of any bytes, NUL included, which LuaSQL's
-- text-only statements cannot carry.

local ffi = require "ffi"

ffi.cdef [[
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
int sqlite3_open(const char *, sqlite3 **);
int sqlite3_close(sqlite3 *);
int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
int sqlite3_step(sqlite3_stmt *);
int sqlite3_reset(sqlite3_stmt *);
int sqlite3_finalize(sqlite3_stmt *);
int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, intptr_t);
int sqlite3_bind_double(sqlite3_stmt *, int, double);
int sqlite3_bind_null(sqlite3_stmt *, int);
int sqlite3_column_count(sqlite3_stmt *);
int sqlite3_column_type(sqlite3_stmt *, int);
const char *sqlite3_column_text(sqlite3_stmt *, int);
int sqlite3_column_bytes(sqlite3_stmt *, int);
double sqlite3_column_double(sqlite3_stmt *, int);
int sqlite3_changes(sqlite3 *);
const char *sqlite3_errmsg(sqlite3 *);
]]

local function load()
  for _, name in ipairs { "libsqlite3.so.0", "sqlite3", "libsqlite3.dylib" } do
    local ok, lib = pcall(ffi.load, name)
    if ok then
      return lib
    end
  end
  error "the SQLite library (libsqlite3) is missing"
end

local C = load()

local ROW, DONE, CONSTRAINT = 100, 101, 19
local INTEGER, FLOAT, NULL = 1, 2, 5
local COPY = -1 -- SQLITE_TRANSIENT: the library keeps a copy of a bound text
local MAX_STATEMENTS = 400

local Database = {}
Database.__index = Database

local M = {}

--- Open a database file. Nothing is ever synced to disk: it is thrown away with the sandbox, or (keep) need only outlive its process.
function M.open(path, keep)
  local out = ffi.new "sqlite3 *[1]"
  if C.sqlite3_open(path, out) ~= 0 then
    error("cannot open " .. path)
  end
  local self = setmetatable({ handle = out[0], statements = {}, count = 0, walks = {}, endings = 0 }, Database)
  self:run "PRAGMA synchronous = OFF"
  self:run "PRAGMA locking_mode = EXCLUSIVE"
  self:run(keep and "PRAGMA journal_mode = WAL" or "PRAGMA journal_mode = MEMORY")
  return self
end

function Database:fail(sql)
  error(ffi.string(C.sqlite3_errmsg(self.handle)) .. " in " .. sql, 3)
end

function Database:prepare(sql)
  local out = ffi.new "sqlite3_stmt *[1]"
  if C.sqlite3_prepare_v2(self.handle, sql, #sql, out, nil) ~= 0 then
    self:fail(sql)
  end
  return out[0]
end

--- Prepared statements are kept by their text; when there are too many, all are dropped.
function Database:statement(sql)
  local statement = self.statements[sql]
  if not statement then
    if self.count >= MAX_STATEMENTS then
      for _, old in pairs(self.statements) do
        C.sqlite3_finalize(old)
      end
      self.statements, self.count = {}, 0
    end
    statement = self:prepare(sql)
    self.statements[sql] = statement
    self.count = self.count + 1
  end
  return statement
end

local function bind(statement, params, n)
  for i = 1, n do
    local value = params[i]
    if type(value) == "string" then
      C.sqlite3_bind_text(statement, i, value, #value, COPY)
    elseif type(value) == "number" then
      C.sqlite3_bind_double(statement, i, value)
    elseif type(value) == "boolean" then
      C.sqlite3_bind_double(statement, i, value and 1 or 0)
    else
      C.sqlite3_bind_null(statement, i)
    end
  end
end

local function column(statement, i)
  local kind = C.sqlite3_column_type(statement, i)
  if kind == NULL then
    return nil
  elseif kind == INTEGER or kind == FLOAT then
    return C.sqlite3_column_double(statement, i)
  end
  local text = C.sqlite3_column_text(statement, i)
  return ffi.string(text, C.sqlite3_column_bytes(statement, i))
end

--- Run a statement without rows. Returns the number of changed rows; nil and a text when a constraint refused it.
function Database:run(sql, params, n)
  local statement = self:statement(sql)
  bind(statement, params or {}, n or (params and #params or 0))
  local code = C.sqlite3_step(statement)
  C.sqlite3_reset(statement)
  if code % 256 == CONSTRAINT then
    return nil, ffi.string(C.sqlite3_errmsg(self.handle))
  elseif code ~= DONE and code ~= ROW then
    self:fail(sql)
  end
  return C.sqlite3_changes(self.handle)
end

--- The values of the first row, or nothing.
function Database:first(sql, params, n)
  local statement = self:statement(sql)
  bind(statement, params or {}, n or (params and #params or 0))
  local code = C.sqlite3_step(statement)
  if code ~= ROW then
    C.sqlite3_reset(statement)
    if code ~= DONE then
      self:fail(sql)
    end
    return
  end
  local values, count = {}, C.sqlite3_column_count(statement)
  for i = 1, count do
    values[i] = column(statement, i - 1)
  end
  C.sqlite3_reset(statement)
  return unpack(values, 1, count)
end

--- All rows, one after the other, as arrays (nil for NULL). The statement is its own, so other statements may run
-- between two rows. The second answer ends the walk early.
function Database:rows(sql, params)
  local statement = self:prepare(sql)
  bind(statement, params or {}, params and #params or 0)
  local count = C.sqlite3_column_count(statement)
  local finish
  function finish()
    if statement then
      C.sqlite3_finalize(statement)
      statement = nil
      self.walks[finish] = nil
    end
  end
  self.walks[finish] = true
  return function()
    if not statement then
      return nil
    end
    local code = C.sqlite3_step(statement)
    if code ~= ROW then
      finish()
      if code ~= DONE then
        self:fail(sql)
      end
      return nil
    end
    local row = {}
    for i = 1, count do
      row[i] = column(statement, i - 1)
    end
    return row
  end, finish
end

--- Ends all walks. A table that somebody walks through cannot be dropped. `endings` counts how often that was done.
function Database:finish_rows()
  self.endings = self.endings + 1
  for finish in pairs(self.walks) do
    finish()
  end
end

function Database:begin()
  self:run "BEGIN"
end

function Database:commit()
  self:run "COMMIT"
end

return M
