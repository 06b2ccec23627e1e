--- Accounts that are as awkward as real ones: quotes, commas, line breaks, accents, emoji, empty fields.
--- The same numbers give the same accounts, so that what was loaded can be compared with what comes back.
local accounts = {}

local NAMES = { 'Müller & Söhne', 'O\'Brien, Ltd.', 'The "Best" Bakery', '東京電機', 'Łódź Café', 'Ünïted Ćontainers 🚢', 'Plain Inc' }
local NOTES = {
  'first line\nsecond line',
  'says "hello", twice: ""',
  'comma, semicolon; tab\tand | pipe',
  'emoji 🎉👩‍👩‍👧 and accents àéîõü',
  ' leading and trailing spaces ',
  '#hash, then\n\n"a quoted paragraph"\n',
}

accounts.columns = { 'Ext__c', 'Name', 'Industry', 'NumberOfEmployees', 'BillingCity', 'Notes__c' }

--- The i-th account. An absent field is one that the account has no value for.
---@param i integer
---@return table<string, string|integer>
function accounts.row(i)
  return {
    Ext__c = string.format('A-%06d', i),
    Name = NAMES[i % #NAMES + 1] .. ' ' .. i,
    Industry = i % 3 == 0 and 'Banking' or nil,
    NumberOfEmployees = i * 7 % 5000,
    BillingCity = i % 4 == 0 and 'Saint-Étienne' or 'Zürich',
    Notes__c = NOTES[i % #NOTES + 1],
  }
end

return accounts
