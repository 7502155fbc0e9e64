-- SPDX-License-Identifier: MPL-2.0
-- Begins the recording when the source has a picture, and ends it when there is a file "stop" in the folder of the settings. Files
-- "ready", "started" and "stopped" there tell what has been done.

local obs = obslua
local folder = ""
local source_name = ""
local step

function script_description()
    return "Records a source from its first picture on until a file tells to stop."
end

function script_properties()
    local properties = obs.obs_properties_create()
    obs.obs_properties_add_text(properties, "source", "Source", obs.OBS_TEXT_DEFAULT)
    obs.obs_properties_add_path(properties, "folder", "Folder", obs.OBS_PATH_DIRECTORY, nil, nil)
    return properties
end

function script_update(settings)
    folder = obs.obs_data_get_string(settings, "folder")
    source_name = obs.obs_data_get_string(settings, "source")
end

local function exists(name)
    local file = io.open(folder .. "/" .. name)
    if file then
        file:close()
    end
    return file ~= nil
end

local function tell(name)
    local file = io.open(folder .. "/" .. name, "w")
    if file then
        file:close()
    end
end

local function has_picture()
    local source = obs.obs_get_source_by_name(source_name)
    local width = source and obs.obs_source_get_width(source) or 0
    obs.obs_source_release(source)
    return width > 0
end

local steps = {}

function steps.load()
    tell("ready")
    step = steps.wait
end

function steps.wait()
    if has_picture() then
        obs.obs_frontend_recording_start()
        step = steps.start
    end
end

function steps.start()
    if obs.obs_frontend_recording_active() then
        tell("started")
        step = steps.record
    end
end

function steps.record()
    if exists("stop") then
        obs.obs_frontend_recording_stop()
        step = steps.stop
    end
end

function steps.stop()
    if not obs.obs_frontend_recording_active() then
        tell("stopped")
        obs.remove_current_callback()
    end
end

function script_load()
    step = steps.load
    obs.timer_add(function()
        step()
    end, 100)
end
