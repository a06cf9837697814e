/* The main of every model's program: cmake/models.cmake says which model. */
#include "common/run/model.h"

extern const Model ZOO_MODEL;

int main(int argc, char **argv)
{
    return model_main(&ZOO_MODEL, ZOO_ROOT, argc, argv);
}
