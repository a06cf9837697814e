/* CIFAR's records and pickles; the first byte says which. Labels that were accepted are classes. */
#include "common/base/error.h"
#include "datasets/cifar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    CifarSamples samples = {0};
    Error e;
    bool fine = bytes[0] & 1, pickle = bytes[0] & 2;
    int classes = fine ? 100 : 10;
    bool good = pickle ? cifar_add_pickle(&samples, bytes + 1, size - 1, fine ? "fine_labels" : "labels", classes, &e)
                       : cifar_add_bin(&samples, bytes + 1, size - 1, fine ? 2 : 1, classes, &e);
    contract(!good || samples.count > 0, "an accepted file without samples");
    for (int64_t i = 0; i < samples.count; i++)
        contract(samples.labels[i] < classes, "label %d of %d classes", samples.labels[i], classes);
    cifar_samples_free(&samples);
    return 0;
}
