/* A step of training as CUDA graphs. The host's code runs in every step as always; its work is captured, the graph of the last step
 * takes over the new arguments (addresses, sizes, draws), and is launched. A step that waits in the middle for what the device
 * computed is several graphs, which keep their order. So shapes need not stay: where a graph does not fit, a new one is made.
 *
 * Steps are captured once a whole step has taken no memory and made no plan. ZOO_CUDA_GRAPH=0: never; =report: and at the end of
 * the process a line on stderr tells how many. */
#include "common/kernels/cuda/graph.cuh"
#include <string.h>

#define WITHOUT "(ZOO_CUDA_GRAPH=0 starts kernels one by one)"

enum { PLACES = 64, WAYS = 4, EVENTS = 256 };
enum { RESTLESS = 64 }; /* two for a step that needs a new graph, less one for any other: capturing does not pay */

/* An executable graph. A place in a step has several, by their number of nodes: steps of more than one shape take turns. */
typedef struct Way {
    cudaGraphExec_t exec; /* NULL: free */
    size_t nodes;
    uint64_t used;
} Way;

typedef struct Events {
    cudaEvent_t events[EVENTS];
    int count;
} Events;

static bool chosen; /* by ZOO_CUDA_GRAPH */
static Way places[PLACES][WAYS];
static Events awaited, recorded; /* before the launch and after it */

static struct {
    bool open, captures, capturing;
    bool paused; /* by STEP_PAUSES */
    bool calm;   /* a graph could hold all that it did so far */
    bool made;   /* it needed a graph that was not there */
    int place;   /* of the next graph */
    uint64_t number, graph;
} step;

static struct {
    uint64_t made, updated, launched;
    int restless;
} counts;

static cudaStream_t stream(void)
{
    return (cudaStream_t)cuda_stream();
}

static void report(void)
{
    fprintf(stderr, "device cuda: %llu steps; %llu graphs launched, %llu made, %llu updated\n",
            (unsigned long long)step.number, (unsigned long long)counts.launched, (unsigned long long)counts.made,
            (unsigned long long)counts.updated);
}

bool graph_choose(Error *e)
{
    const char *text = getenv("ZOO_CUDA_GRAPH");
    bool given = text && *text, reports = given && strcmp(text, "report") == 0;
    chosen = !given || reports || strcmp(text, "1") == 0;
    if (!chosen && strcmp(text, "0") != 0) {
        snprintf(e->text, sizeof e->text, "ZOO_CUDA_GRAPH=%s: neither 0 nor 1 nor report", text);
        return false;
    }
    static bool told;
    if (reports && !told)
        atexit(report);
    told = told || reports;
    return true;
}

static bool wanted(void)
{
    return chosen && counts.restless < RESTLESS;
}

bool graph_capturing(void)
{
    return step.capturing;
}

uint64_t graph_number(void)
{
    return step.graph;
}

uint64_t graph_step_number(void)
{
    return step.number;
}

/* ---- Events around a graph */

static bool has(const Events *list, cudaEvent_t event)
{
    for (int i = 0; i < list->count; i++)
        if (list->events[i] == event)
            return true;
    return false;
}

/* Whether there is a graph that the event can wait for. */
static bool put_off(Events *list, cudaEvent_t event)
{
    bool known = has(list, event);
    if (step.capturing && !known && list->count == EVENTS) {
        graph_pause();
        graph_go_on();
    }
    if (step.capturing && !known)
        list->events[list->count++] = event;
    return step.capturing;
}

bool graph_records(cudaEvent_t event)
{
    return has(&recorded, event);
}

void graph_record(cudaEvent_t event, const char *what, size_t bytes)
{
    if (!put_off(&recorded, event))
        cuda_succeed(cudaEventRecord(event, stream()), "%s of %zu bytes", what, bytes);
}

void graph_await(cudaEvent_t event, const char *what, size_t bytes)
{
    if (!put_off(&awaited, event))
        cuda_succeed(cudaStreamWaitEvent(stream(), event, 0), "%s of %zu bytes", what, bytes);
}

/* ---- Graphs */

/* The one with as many nodes, else a free one, else the one that was not used for longest. */
static Way *way_for(Way *ways, size_t nodes)
{
    Way *best = ways;
    for (Way *w = ways; w < ways + WAYS; w++) {
        if (w->exec && w->nodes == nodes)
            return w;
        if (w->used < best->used)
            best = w;
    }
    return best;
}

static void drop(Way *way)
{
    cuda_succeed(cudaStreamSynchronize(stream()), "waiting for the GPU"); /* it may be running */
    cuda_succeed(cudaGraphExecDestroy(way->exec), "giving a graph back");
    way->exec = NULL;
}

static bool takes_over(Way *way, cudaGraph_t graph, size_t nodes)
{
    cudaGraphExecUpdateResultInfo info;
    if (!way->exec)
        return false;
    if (way->nodes == nodes && cudaGraphExecUpdate(way->exec, graph, &info) == cudaSuccess) {
        counts.updated++;
        return true;
    }
    cudaGetLastError(); /* it is of another shape */
    drop(way);
    return false;
}

static void launch(cudaGraph_t graph, size_t nodes)
{
    Way *way = way_for(places[step.place++], nodes);
    if (!takes_over(way, graph, nodes)) {
        cuda_succeed(cudaGraphInstantiateWithFlags(&way->exec, graph, 0),
                     "a step of %zu operations as a graph " WITHOUT, nodes);
        way->nodes = nodes;
        step.made = true;
        counts.made++;
    }
    way->used = step.graph;
    counts.launched++;
    cuda_succeed(cudaGraphLaunch(way->exec, stream()), "launching a graph of %zu operations " WITHOUT, nodes);
}

static void begin_graph(void)
{
    cuda_succeed(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "capturing a step " WITHOUT);
    step.capturing = true;
    step.graph++;
}

static void end_graph(void)
{
    cudaGraph_t graph;
    size_t nodes = 0;
    cuda_succeed(cudaStreamEndCapture(stream(), &graph), "capturing a step " WITHOUT);
    step.capturing = false;
    for (int i = 0; i < awaited.count; i++)
        cuda_succeed(cudaStreamWaitEvent(stream(), awaited.events[i], 0), "uploads before a graph");
    cuda_succeed(cudaGraphGetNodes(graph, NULL, &nodes), "the size of a graph");
    if (nodes)
        launch(graph, nodes);
    cuda_succeed(cudaGraphDestroy(graph), "giving a graph back");
    for (int i = 0; i < recorded.count; i++)
        cuda_succeed(cudaEventRecord(recorded.events[i], stream()), "an event behind a graph");
    awaited.count = recorded.count = 0;
}

/* ---- A step */

void graph_pause(void)
{
    if (step.capturing)
        end_graph();
}

void graph_go_on(void)
{
    if (step.captures && !step.capturing && !step.paused && step.place < PLACES)
        begin_graph();
}

void graph_leave(void)
{
    if (!step.open)
        return;
    graph_pause();
    step.captures = step.calm = false;
}

static void begin_step(void)
{
    step.captures = wanted() && step.calm;
    step.open = step.calm = true;
    step.made = false;
    step.place = 0;
    step.number++;
    graph_go_on();
}

static void end_step(void)
{
    graph_pause();
    if (step.captures && (step.made || counts.restless > 0))
        counts.restless += step.made ? 2 : -1;
    step.open = step.captures = false;
}

void graph_step(StepMoment moment)
{
    switch (moment) {
    case STEP_BEGINS:
        begin_step();
        break;
    case STEP_PAUSES:
        graph_pause();
        step.paused = true;
        break;
    case STEP_GOES_ON:
        step.paused = false;
        graph_go_on();
        break;
    case STEP_ENDS:
        end_step();
        break;
    }
}
