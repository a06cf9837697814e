#include "common/tensor/tensor.h"

#include <stdio.h>

int64_t shape_product(Shape s, int from, int to)
{
    int64_t product = 1;
    for (int i = from; i < to; i++)
        product *= s.dim[i];
    return product;
}

int64_t shape_count(Shape s)
{
    return shape_product(s, 0, s.rank);
}

bool shape_equal(Shape a, Shape b)
{
    if (a.rank != b.rank)
        return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

const char *shape_text(Shape s, char text[static 128])
{
    int n = snprintf(text, 128, "[");
    for (int i = 0; i < s.rank && n < 120; i++)
        n += snprintf(text + n, (size_t)(128 - n), "%s%lld", i ? ", " : "", (long long)s.dim[i]);
    snprintf(text + (n < 127 ? n : 126), 2, "]");
    return text;
}

bool tensor_rows(const Tensor *x, int64_t *rows, int64_t *cols, Rows *out)
{
    int64_t count = tensor_count(x);
    *cols = x->shape.rank ? x->shape.dim[x->shape.rank - 1] : 1;
    *rows = *cols ? count / *cols : shape_product(x->shape, 0, x->shape.rank - 1);
    *out = (Rows){x->data, *cols, x->type};
    if (!tensor_is_window(x) || count <= x->run)
        return true;
    if (x->run != *cols)
        return false;
    out->stride = x->stride;
    return true;
}

Rows tensor_blocks(const Tensor *x, int64_t *blocks, int64_t *run)
{
    *run = x->run;
    *blocks = x->run ? tensor_count(x) / x->run : 0;
    return (Rows){x->data, x->stride, x->type};
}

int64_t tensor_offset(const Tensor *x, int64_t index)
{
    return x->run ? index / x->run * x->stride + index % x->run : 0;
}
