/* CUDA's own warp collectives. */
#include <cuda_runtime.h>

static const EmulatedCollective syncwarp = {"__syncwarp", NULL, true};

void __syncwarp(unsigned mask)
{
    emulated_collective(&syncwarp, mask, NULL, NULL, NULL);
}

/* in: int, out: unsigned. */
static void combine_ballot(const EmulatedWarp *warp, const void *)
{
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++)
        if (warp->in[lane] && *(const int *)warp->in[lane])
            votes |= 1u << lane;
    for (int lane = 0; lane < 32; lane++)
        if (warp->out[lane])
            *(unsigned *)warp->out[lane] = votes;
}

static const EmulatedCollective ballot = {"__ballot_sync", combine_ballot, false};

unsigned __ballot_sync(unsigned mask, int predicate)
{
    unsigned votes;
    emulated_collective(&ballot, mask, &predicate, &votes, NULL);
    return votes;
}

struct Offer {
    uint64_t value;
    int operand, width;
};

/* The lane that lane l reads, or l itself where that lies outside of its group of `width`. */
static int source_lane(EmulatedShuffle how, int lane, int operand, int width)
{
    int first = lane / width * width, from = lane;
    switch (how) {
    case SHUFFLE_INDEX:
        return first + (operand & (width - 1));
    case SHUFFLE_UP:
        from = lane - operand;
        break;
    case SHUFFLE_DOWN:
        from = lane + operand;
        break;
    case SHUFFLE_XOR:
        from = lane ^ operand;
        /* as in CUDA, an earlier group may be read, a later one not */
        return from < first + width ? from : lane;
    }
    return from >= first && from < first + width ? from : lane;
}

/* in: Offer, out: uint64_t, argument: how. A lane that is not there has no value: all bits set, NaN as a float. */
static void combine_shuffle(const EmulatedWarp *warp, const void *argument)
{
    EmulatedShuffle how = *(const EmulatedShuffle *)argument;
    uint64_t results[32] = {0};
    for (int lane = 0; lane < 32; lane++) {
        const Offer *mine = (const Offer *)warp->in[lane];
        if (!mine)
            continue;
        const Offer *theirs = (const Offer *)warp->in[source_lane(how, lane, mine->operand, mine->width)];
        results[lane] = theirs ? theirs->value : ~UINT64_C(0);
    }
    for (int lane = 0; lane < 32; lane++)
        if (warp->out[lane])
            *(uint64_t *)warp->out[lane] = results[lane];
}

static const EmulatedCollective shuffles[] = {{"__shfl_sync", combine_shuffle, false},
                                              {"__shfl_up_sync", combine_shuffle, false},
                                              {"__shfl_down_sync", combine_shuffle, false},
                                              {"__shfl_xor_sync", combine_shuffle, false}};

uint64_t emulated_shuffle(EmulatedShuffle how, unsigned mask, uint64_t value, int operand, int width)
{
    Offer offer = {value, operand, width};
    uint64_t result;
    emulated_collective(&shuffles[how], mask, &offer, &result, &how);
    return result;
}
