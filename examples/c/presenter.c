// SPDX-License-Identifier: MPL-2.0
/*
 * A presenter that speaks the sound files that you name, live, and that you can interrupt.
 *
 * Type the name of a sound file and press Enter: the presenter speaks it. Press Enter alone, also in the middle of it: the
 * presenter stops at once, and you are told how much was said. Ctrl-D ends the program when all has been said, Ctrl-C at once.
 *
 * How to build and run it (in a checkout, after `make`; after `make install` without the variable):
 *
 *     make -C examples/c
 *     export GST_PLUGIN_PATH=$PWD/target/plugin
 *     examples/c/presenter                                 # then type: examples/sample.wav
 *     examples/c/presenter --avatar theo --out film.mkv    # into a file instead of a window
 */

#include <glib-unix.h>
#include <gst/app/app.h>
#include <gst/gst.h>

#define RATE "24000"
#define SPEECH "audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=" RATE

/* appsrc gets speech as fast as it is decoded; lipsyncsrc speaks it in real time, and gives the sound back in step with the
 * picture. A queue behind each of its pads, so that neither stream waits for the other. */
#define PRESENTER                                                    \
  "appsrc name=voice format=time caps=" SPEECH " ! presenter.sink "  \
  "lipsyncsrc name=presenter "

static const char to_window[] = PRESENTER
    "presenter.src ! queue ! videoconvert ! autovideosink "
    "presenter.audio ! queue ! audioconvert ! audioresample ! autoaudiosink";

static const char to_file[] = PRESENTER
    "presenter.src ! queue ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast ! queue ! film. "
    "presenter.audio ! queue ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! opusenc ! queue ! film. "
    "matroskamux name=film ! filesink name=file";

/* Everything happens in the thread of the main loop. */
typedef struct {
  GstElement *pipeline;
  GstElement *voice;     /* appsrc */
  GstElement *presenter; /* lipsyncsrc */
  GMainLoop *loop;
  guint count;           /* utterances so far */
  gboolean is_busy;      /* the last of them has not ended */
  gboolean no_more_lines;
  gboolean failed;
} Program;

/* Ends the stream: a file gets its index, and the message EOS ends the main loop. */
static gboolean finish(gpointer data) {
  Program *program = data;
  gst_element_send_event(program->presenter, gst_event_new_eos());
  return G_SOURCE_REMOVE;
}

static void finish_if_done(Program *program) {
  if (program->no_more_lines && !program->is_busy)
    finish(program);
}

/* Says in the stream of sound where an utterance begins or ends; appsrc keeps the mark between its buffers. */
static void mark(Program *program, const char *event, const char *id) {
  GstStructure *structure = gst_structure_new(event, "id", G_TYPE_STRING, id, NULL);
  gst_element_send_event(program->voice, gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, structure));
}

/* Prints what an error or warning says: of lipsyncsrc always one sentence with the file or value at fault and the remedy. */
static void print_problem(GstMessage *message) {
  gboolean is_error = GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR;
  GError *problem = NULL;
  if (is_error)
    gst_message_parse_error(message, &problem, NULL);
  else
    gst_message_parse_warning(message, &problem, NULL);
  g_printerr("%s: %s: %s\n", is_error ? "error" : "warning", GST_OBJECT_NAME(GST_MESSAGE_SRC(message)), problem->message);
  g_clear_error(&problem);
}

/* Decodes any sound file and gives it to the presenter, as fast as that goes, as an utterance. */
static void speak_file(Program *program, const char *file) {
  if (!g_file_test(file, G_FILE_TEST_IS_REGULAR)) {
    g_printerr("error: %s: there is no such file\n", file);
    return;
  }
  GError *error = NULL;
  GstElement *decoder = gst_parse_launch(
      "filesrc name=source ! decodebin ! audioconvert ! audioresample ! appsink name=sink sync=false caps=" SPEECH, &error);
  if (decoder == NULL) {
    g_printerr("error: %s\n", error->message);
    g_clear_error(&error);
    return;
  }
  GstElement *source = gst_bin_get_by_name(GST_BIN(decoder), "source");
  GstElement *sink = gst_bin_get_by_name(GST_BIN(decoder), "sink");
  g_object_set(source, "location", file, NULL);
  gst_element_set_state(decoder, GST_STATE_PLAYING);

  /* A file that cannot be decoded sends no first sample; the reason is waited for below. */
  GstBus *bus = gst_element_get_bus(decoder);
  GstMessage *message = gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ASYNC_DONE | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
    print_problem(message);
  } else {
    g_autofree char *id = g_strdup_printf("answer-%u", ++program->count);
    program->is_busy = TRUE;
    mark(program, "lipsync-utterance-start", id);
    GstSample *sample;
    /* Up to its end. A file that breaks off may have none, so there is a limit to the wait. */
    while ((sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 5 * GST_SECOND)) != NULL) {
      /* Without its time in the file: samples follow one another. */
      GstBuffer *buffer = gst_buffer_copy(gst_sample_get_buffer(sample));
      GST_BUFFER_PTS(buffer) = GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
      gst_app_src_push_buffer(GST_APP_SRC(program->voice), buffer); /* takes the buffer */
      gst_sample_unref(sample);
    }
    /* That was all: nothing waits for more of it. */
    mark(program, "lipsync-utterance-end", id);
    GstMessage *problem = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
    if (problem != NULL) { /* it broke off: what came before is spoken */
      print_problem(problem);
      gst_message_unref(problem);
    }
  }
  gst_message_unref(message);
  gst_object_unref(bus);
  gst_element_set_state(decoder, GST_STATE_NULL);
  gst_object_unref(source);
  gst_object_unref(sink);
  gst_object_unref(decoder);
}

static void interrupt(Program *program) {
  /* The signal has a result, so a place for it must be given. It tells what came out of the pad audio, to the sample. */
  GstStructure *answer = NULL;
  g_signal_emit_by_name(program->presenter, "interrupt", &answer);
  /* The presenter has dropped all that it had. What it has not taken yet waits in appsrc: a flush drops that. */
  gst_element_send_event(program->voice, gst_event_new_flush_start());
  gst_element_send_event(program->voice, gst_event_new_flush_stop(FALSE));
  program->is_busy = FALSE;

  guint64 samples = 0, duration = 0;
  gst_structure_get_uint64(answer, "samples", &samples);
  gst_structure_get_uint64(answer, "duration", &duration);
  const char *utterance = gst_structure_get_string(answer, "utterance"); /* NULL where none was cut short */
  if (utterance != NULL)
    g_print("interrupt: %s after %" G_GUINT64_FORMAT " samples, %.2f s\n", utterance, samples, duration / 1e9);
  else
    g_print("interrupt: nothing was being said\n");
  gst_structure_free(answer);
  finish_if_done(program);
}

/* A line has been typed. */
static gboolean on_line(GIOChannel *channel, GIOCondition condition, gpointer data) {
  (void)condition;
  Program *program = data;
  g_autofree char *line = NULL;
  gsize end = 0;
  if (g_io_channel_read_line(channel, &line, NULL, &end, NULL) != G_IO_STATUS_NORMAL) {
    program->no_more_lines = TRUE;
    finish_if_done(program);
    return G_SOURCE_REMOVE;
  }
  line[end] = '\0';
  if (*line == '\0')
    interrupt(program);
  else
    speak_file(program, line);
  return G_SOURCE_CONTINUE;
}

/* An element message of lipsyncsrc. */
static void on_told(Program *program, const GstStructure *told) {
  const char *id = gst_structure_get_string(told, "id");
  if (gst_structure_has_name(told, "lipsync-utterance-start")) {
    g_print("start: %s\n", id);
  } else if (gst_structure_has_name(told, "lipsync-utterance-end")) {
    const char *reason = gst_structure_get_string(told, "reason");
    guint64 duration = 0;
    gst_structure_get_uint64(told, "duration", &duration);
    g_print("end: %s %s after %.2f s\n", id, reason, duration / 1e9);
    g_autofree char *last = g_strdup_printf("answer-%u", program->count);
    if (g_strcmp0(id, last) == 0)
      program->is_busy = FALSE;
    finish_if_done(program);
  } else if (gst_structure_has_name(told, "lipsync-drained")) {
    g_print("silent: all has been said\n");
  }
}

static gboolean on_message(GstBus *bus, GstMessage *message, gpointer data) {
  (void)bus;
  Program *program = data;
  switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
      print_problem(message);
      program->failed = TRUE;
      g_main_loop_quit(program->loop);
      break;
    case GST_MESSAGE_WARNING:
      print_problem(message);
      break;
    case GST_MESSAGE_EOS:
      g_main_loop_quit(program->loop);
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency(GST_BIN(program->pipeline));
      break;
    case GST_MESSAGE_ELEMENT:
      if (GST_MESSAGE_SRC(message) == GST_OBJECT(program->presenter))
        on_told(program, gst_message_get_structure(message));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv) {
  g_autofree char *avatar = NULL;
  g_autofree char *out = NULL;
  const GOptionEntry entries[] = {
      {"avatar", 'a', 0, G_OPTION_ARG_STRING, &avatar, "Name or folder of the avatar (default: iris)", "NAME"},
      {"out", 'o', 0, G_OPTION_ARG_FILENAME, &out, "Write a video instead of opening a window", "FILE.mkv"},
      {NULL, 0, 0, 0, NULL, NULL, NULL},
  };
  GError *error = NULL;
  GOptionContext *context = g_option_context_new("- a presenter that speaks the sound files that you name");
  g_option_context_add_main_entries(context, entries, NULL);
  g_option_context_add_group(context, gst_init_get_option_group()); /* does what gst_init does */
  gboolean is_understood = g_option_context_parse(context, &argc, &argv, &error);
  g_option_context_free(context);

  Program program = {0};
  if (is_understood)
    program.pipeline = gst_parse_launch(out != NULL ? to_file : to_window, &error);
  if (program.pipeline == NULL || error != NULL) {
    g_printerr("error: %s\n", error->message);
    if (g_error_matches(error, GST_PARSE_ERROR, GST_PARSE_ERROR_NO_SUCH_ELEMENT))
      g_printerr("For lipsyncsrc, install the plugin, or set GST_PLUGIN_PATH to its folder\n");
    g_clear_error(&error);
    return 1;
  }
  program.voice = gst_bin_get_by_name(GST_BIN(program.pipeline), "voice");
  program.presenter = gst_bin_get_by_name(GST_BIN(program.pipeline), "presenter");
  if (avatar != NULL)
    g_object_set(program.presenter, "avatar", avatar, NULL);
  if (out != NULL) {
    GstElement *file = gst_bin_get_by_name(GST_BIN(program.pipeline), "file");
    g_object_set(file, "location", out, NULL);
    gst_object_unref(file);
  }

  program.loop = g_main_loop_new(NULL, FALSE);
  GstBus *bus = gst_element_get_bus(program.pipeline);
  gst_bus_add_watch(bus, on_message, &program);
  GIOChannel *lines = g_io_channel_unix_new(0);
  g_io_channel_set_encoding(lines, NULL, NULL); /* names of files are bytes */
  g_io_add_watch(lines, G_IO_IN | G_IO_HUP, on_line, &program);
  g_unix_signal_add(SIGINT, finish, &program);

  /* Where this fails, an error message says why. */
  gst_element_set_state(program.pipeline, GST_STATE_PLAYING);
  g_main_loop_run(program.loop);
  gst_element_set_state(program.pipeline, GST_STATE_NULL);

  gst_bus_remove_watch(bus);
  gst_object_unref(bus);
  g_io_channel_unref(lines);
  gst_object_unref(program.voice);
  gst_object_unref(program.presenter);
  gst_object_unref(program.pipeline);
  g_main_loop_unref(program.loop);
  return program.failed ? 1 : 0;
}
