--- The org's objects and their fields. Tests may add their own (control command "define").

local ids = require "ids"

local M = { objects = {} }

-- Entities that exist but are closed to the Bulk API (fact sheet 10, trap 28).
local UNSUPPORTED = {
  accountfeed = true, accountshare = true, casestatus = true, taskstatus = true, solutionstatus = true, partnerrole = true,
  contractstatus = true, declinedeventrelation = true, fieldsecurityclassification = true, tasktag = true,
}

local function text(name, length, extra)
  local field = extra or {}
  field.name, field.type, field.length = name, "text", length or 255
  return field
end

local function of(kind)
  return function(name, extra)
    local field = extra or {}
    field.name, field.type = name, kind
    return field
  end
end

local number, integer, boolean, date, datetime = of "number", of "integer", of "boolean", of "date", of "datetime"

local function reference(name, relationship, targets)
  return { name = name, type = "reference", length = 18, relationship = relationship, targets = targets }
end

local function ext()
  return text("Ext__c", 255, { external_id = true, unique = true })
end

local function custom()
  return {
    ext(), text("Code__c", 255, { external_id = true }), text("Notes__c", 131072), text("Text__c", 255), text("Long__c", 131072),
    number "Number__c", integer "Count__c", boolean "Flag__c", date "Date__c", datetime "Moment__c",
  }
end

local function address(prefix)
  return {
    text(prefix .. "Street", 255), text(prefix .. "City", 40), text(prefix .. "State", 80), text(prefix .. "PostalCode", 20),
    text(prefix .. "Country", 80), number(prefix .. "Latitude"), number(prefix .. "Longitude"),
    { name = prefix .. "Address", type = "compound" },
  }
end

local function list(...)
  local out = {}
  for _, part in ipairs { ... } do
    if part.name then
      out[#out + 1] = part
    else
      for _, field in ipairs(part) do
        out[#out + 1] = field
      end
    end
  end
  return out
end

-- Fields that every object has; the server fills them.
local function system()
  return {
    text("Id", 18, { read_only = true }), boolean("IsDeleted", { read_only = true }),
    datetime("CreatedDate", { read_only = true }), text("CreatedById", 18, { read_only = true }),
    datetime("LastModifiedDate", { read_only = true }), text("LastModifiedById", 18, { read_only = true }),
    datetime("SystemModstamp", { read_only = true }),
  }
end

local FULL_NAME = [[trim(coalesce(@."FirstName", '') || ' ' || coalesce(@."LastName", ''))]] -- @: the table

local function person()
  return {
    text("Salutation", 40), text("FirstName", 40), text("LastName", 80, { required = true }),
    { name = "Name", type = "text", length = 121, read_only = true, formula = FULL_NAME },
    text("Title", 128), text("Email", 80, { id_lookup = true, format = "email" }), text("Phone", 40), text("Fax", 40),
    text("MobilePhone", 40), text("Description", 32000), text("LeadSource", 255), boolean "HasOptedOutOfEmail",
  }
end

local OWNER = reference("OwnerId", "Owner", { "User" })

local STANDARD = {
  Account = { "001", list(text("Name", 255, { required = true }), text("Type"), reference("ParentId", "Parent", { "Account" }),
    text("Industry"), text("Phone", 40), text("Fax", 40), text("Website", 255), text("Description", 32000), text("AccountNumber", 40),
    text("Site", 80), text("AccountSource"), text("Rating"), text("Ownership"), text("Sic", 20), text("SicDesc", 80), text("TickerSymbol", 20),
    text("Jigsaw", 20), text("JigsawCompanyId", 20, { read_only = true }), text("CleanStatus"), text("PhotoUrl", 255, { read_only = true }),
    date("LastActivityDate", { read_only = true }), datetime("LastViewedDate", { read_only = true }),
    datetime("LastReferencedDate", { read_only = true }),
    number "AnnualRevenue", integer "NumberOfEmployees", text("CustomerPriority__c"), text("SLA__c"), OWNER,
    address "Billing", address "Shipping", custom()) },
  Contact = { "003", list(person(), reference("AccountId", "Account", { "Account" }), reference("ReportsToId", "ReportsTo", { "Contact" }),
    text("Department", 80), date "Birthdate", text("AssistantName", 40), OWNER, address "Mailing", custom()) },
  Lead = { "00Q", list(person(), text("Company", 255, { required = true }), text("Status", 255, { default = "Open - Not Contacted" }),
    text("Industry"), text("Website", 255), text("Rating"), number "AnnualRevenue", integer "NumberOfEmployees",
    boolean("IsConverted", { read_only = true }), OWNER, text("Street", 255), text("City", 40), text("State", 80),
    text("PostalCode", 20), text("Country", 80), { name = "Address", type = "compound" }, custom()) },
  Opportunity = { "006", list(text("Name", 120, { required = true }), text("StageName", 255, { required = true }),
    date("CloseDate", { required = true }), reference("AccountId", "Account", { "Account" }), number "Amount", number "Probability",
    text("Type"), text("NextStep", 255), text("LeadSource"), text("Description", 32000), OWNER, custom()) },
  Case = { "500", list(text("Subject", 255), text("Status", 255, { default = "New" }), text("Origin"), text("Priority"), text("Type"),
    text("Reason"), text("Description", 32000), text("SuppliedName", 80), text("SuppliedEmail", 80, { format = "email" }),
    reference("AccountId", "Account", { "Account" }), reference("ContactId", "Contact", { "Contact" }), OWNER, custom()) },
  Task = { "00T", list(text("Subject", 255), text("Status", 255, { default = "Not Started" }),
    text("Priority", 255, { default = "Normal" }), date "ActivityDate", text("Description", 32000), reference("WhoId", "Who", { "Contact", "Lead" }),
    reference("WhatId", "What", { "Account", "Opportunity", "Case" }), OWNER, custom()) },
  User = { "005", list(text("Username", 80, { required = true, id_lookup = true }), text("FirstName", 40), text("LastName", 80),
    { name = "Name", type = "text", length = 121, read_only = true, formula = FULL_NAME },
    text("Email", 80, { id_lookup = true }), boolean "IsActive", text("Alias", 8), text("ProfileId", 18), text("UserType", 40),
    text("TimeZoneSidKey", 40), text("LocaleSidKey", 40), text("LanguageLocaleKey", 40)) },
  Organization = { "00D", list(text("Name", 80, { read_only = true }), text("InstanceName", 5, { read_only = true }),
    text("NamespacePrefix", 15, { read_only = true }), text("OrganizationType", 40, { read_only = true }),
    boolean("IsSandbox", { read_only = true }), datetime("TrialExpirationDate", { read_only = true }),
    text("LanguageLocaleKey", 40, { read_only = true }), text("DefaultLocaleSidKey", 40, { read_only = true }),
    text("TimeZoneSidKey", 40, { read_only = true })) },
}

-- Objects that no row can be written to.
local READ_ONLY = { Organization = true }

local Object = {}
Object.__index = Object

--- A field by its name in any letter case, as the service takes it.
function Object:field(name)
  return self.by_name[name:lower()]
end

--- The reference field behind a relationship name ("Parent" gives ParentId).
function Object:relationship(name)
  name = name:lower()
  for _, field in ipairs(self.fields) do
    if field.relationship and field.relationship:lower() == name then
      return field
    end
  end
end

-- What a field may be told, and of what type it is.
local FIELD_KEYS = {
  name = "string", type = "string", length = "number", required = "boolean", unique = "boolean", external_id = "boolean",
  id_lookup = "boolean", relationship = "string", targets = "table", read_only = "boolean", default = "any", format = "string",
  formula = "string",
}
local FIELD_TYPES = {
  text = true, number = true, integer = true, boolean = true, date = true, datetime = true, reference = true, compound = true,
}

--- Raises a text for a field that cannot be.
local function check_field(field)
  local function bad(...)
    error(("field %s: "):format(tostring(field.name)) .. (...):format(select(2, ...)), 0)
  end
  if type(field) ~= "table" then
    error("a field is a table such as { name = \"Name\", type = \"text\" }", 0)
  elseif type(field.name) ~= "string" or not field.name:find "^%a[%w_]*$" then
    bad "a name has letters, digits and _"
  elseif field.type ~= nil and not FIELD_TYPES[field.type] then
    bad("there is no type %s; there are text, number, integer, boolean, date, datetime and reference", tostring(field.type))
  end
  for key, value in pairs(field) do
    local wanted = FIELD_KEYS[key]
    if not wanted then
      bad("there is no key %s", tostring(key))
    elseif wanted ~= "any" and type(value) ~= wanted then
      bad("%s must be a %s", key, wanted)
    end
  end
  if field.type == "reference" and (not field.relationship or not field.targets or #field.targets == 0) then
    bad "a reference needs relationship and targets"
  end
end

local function add_field(object, field)
  check_field(field)
  if object.by_name[field.name:lower()] then
    error("field exists already: " .. field.name, 0)
  end
  field.type = field.type or "text"
  if field.type == "text" then
    field.length = field.length or 255
  end
  object.fields[#object.fields + 1] = field
  object.by_name[field.name:lower()] = field
  return field
end

local function free_prefix()
  local prefix = ids.new_prefix()
  for _, object in pairs(M.objects) do
    if object.prefix == prefix then
      return free_prefix()
    end
  end
  return prefix
end

function M.define(name, prefix, fields)
  if type(name) ~= "string" or not name:find "^%a[%w_]*$" then
    error("the name of an object has letters, digits and _", 0)
  end
  local object = setmetatable({ name = name, prefix = prefix or free_prefix(), fields = {}, by_name = {}, read_only = READ_ONLY[name] }, Object)
  for _, field in ipairs(system()) do
    add_field(object, field)
  end
  for _, field in ipairs(fields) do
    local copy = {} -- some definitions are shared between objects
    for key, value in pairs(field) do
      copy[key] = value
    end
    add_field(object, copy)
  end
  M.objects[name:lower()] = object
  return object
end

M.add_field = add_field

--- Is it one that exists, but is closed to the Bulk API?
function M.is_closed(name)
  return UNSUPPORTED[name:lower()] == true
end

--- The object of that name, in any letter case; nil when it is unknown or closed to the Bulk API.
function M.find(name)
  return M.objects[name:lower()]
end

function M.is_unsupported(name)
  return M.is_closed(name) or not M.find(name)
end

function M.reset()
  M.objects = {}
  for name, definition in pairs(STANDARD) do
    M.define(name, definition[1], definition[2])
  end
end

M.reset()

return M
