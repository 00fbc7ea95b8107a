-- Health of BillingRegion, Meter, Plan and Tenant for Argo CD, by the rules that kstatus (and with it Flux) follows:
-- deleting, not seen yet, stalled, being worked on, ready, in this order.
-- Stalled is the only way to be Degraded: a change or a network that flickers is Progressing.

local function condition(status, wanted)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == wanted then
      return found
    end
  end
  return { status = "Unknown" }
end

local function says(found, otherwise)
  if found.message ~= nil and found.message ~= "" then
    return found.message
  end
  return found.reason or otherwise
end

local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted" }
end

-- A new object has observedGeneration -1, by the default of its definition; a changed one the generation before.
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not seen this generation yet" }
end

local stalled = condition(status, "Stalled")
if stalled.status == "True" then
  return { status = "Degraded", message = says(stalled, "stalled") }
end

if obj.spec ~= nil and obj.spec.paused then
  return { status = "Suspended", message = "spec.paused is true: the operator changes nothing" }
end

local reconciling = condition(status, "Reconciling")
if reconciling.status == "True" then
  return { status = "Progressing", message = says(reconciling, "being changed") }
end

local ready = condition(status, "Ready")
if ready.status == "True" then
  return { status = "Healthy", message = says(ready, "ready") }
end
return { status = "Progressing", message = says(ready, "not ready yet") }
