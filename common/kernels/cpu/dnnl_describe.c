/* The calls in which oneDNN 2.x and 3.x differ: memory descriptors are a struct there and a handle here, and a
 * primitive is described in two steps (operation, then primitive) there and in one here. */
#include "common/base/memory.h"
#include "common/kernels/cpu/dnnl_plan.h"

dnnl_data_type_t dnnl_type(DType type)
{
    contract(type == F32 || type == BF16, "oneDNN kernels take float32 and bfloat16, not %s", dtype_name(type));
    return type == BF16 ? dnnl_bf16 : dnnl_f32;
}

/* oneDNN names the spatial sizes of a convolution in arrays, and counts a dense kernel as dilation 0. */
typedef struct Window {
    dnnl_dims_t kernel, stride, dilation, pad_before, pad_after;
} Window;

static Window window_of(const ImageKey *k)
{
    return (Window){.kernel = {k->kernel_height, k->kernel_width},
                    .stride = {k->stride_height, k->stride_width},
                    .dilation = {k->dilation_height - 1, k->dilation_width - 1},
                    .pad_before = {k->pad_top, k->pad_left},
                    .pad_after = {k->pad_bottom, k->pad_right}};
}

static dnnl_alg_kind_t pooling_algorithm(const ImageKey *k)
{
    static const dnnl_alg_kind_t algorithms[] = {[POOL_MAX] = dnnl_pooling_max,
                                                 [POOL_AVERAGE] = dnnl_pooling_avg_exclude_padding,
                                                 [POOL_AVERAGE_WITH_PADDING] = dnnl_pooling_avg_include_padding};
    return algorithms[k->pooling];
}

#if DNNL_VERSION_MAJOR >= 3

Layout layout_strided(DType type, int rank, const int64_t *dims, const int64_t *strides)
{
    dnnl_memory_desc_t made;
    DNNL(dnnl_memory_desc_create_with_strides(&made, rank, dims, dnnl_type(type), strides));
    return made;
}

Layout layout_any(DType type, int rank, const int64_t *dims)
{
    dnnl_memory_desc_t made;
    DNNL(dnnl_memory_desc_create_with_tag(&made, rank, dims, dnnl_type(type), dnnl_format_tag_any));
    return made;
}

Layout layout_copy(Layout layout)
{
    dnnl_memory_desc_t made;
    DNNL(dnnl_memory_desc_clone(&made, layout));
    return made;
}

void layout_free(Layout layout)
{
    if (layout)
        DNNL(dnnl_memory_desc_destroy((dnnl_memory_desc_t)layout));
}

dnnl_primitive_desc_t describe_product(Layout a, Layout b, Layout bias, Layout c, dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t made;
    DNNL(dnnl_matmul_primitive_desc_create(&made, plan_engine(), a, b, bias, c, attributes));
    return made;
}

dnnl_primitive_desc_t describe_convolution(const ImageKey *k, Layout x, Layout weight, Layout bias, Layout y,
                                           dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_primitive_desc_t made;
    DNNL(dnnl_convolution_forward_primitive_desc_create(&made, plan_engine(), dnnl_forward_training,
                                                        dnnl_convolution_direct, x, weight, bias, y, w.stride,
                                                        w.dilation, w.pad_before, w.pad_after, attributes));
    return made;
}

dnnl_primitive_desc_t describe_convolution_by_input(const ImageKey *k, Layout dx, Layout weight, Layout dy,
                                                    dnnl_primitive_desc_t forward, dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_primitive_desc_t made;
    DNNL(dnnl_convolution_backward_data_primitive_desc_create(&made, plan_engine(), dnnl_convolution_direct, dx, weight,
                                                              dy, w.stride, w.dilation, w.pad_before, w.pad_after,
                                                              forward, attributes));
    return made;
}

dnnl_primitive_desc_t describe_convolution_by_weight(const ImageKey *k, Layout x, Layout dweight, Layout dbias,
                                                     Layout dy, dnnl_primitive_desc_t forward,
                                                     dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_primitive_desc_t made;
    DNNL(dnnl_convolution_backward_weights_primitive_desc_create(&made, plan_engine(), dnnl_convolution_direct, x,
                                                                 dweight, dbias, dy, w.stride, w.dilation, w.pad_before,
                                                                 w.pad_after, forward, attributes));
    return made;
}

dnnl_primitive_desc_t describe_pooling(const ImageKey *k, bool training, Layout x, Layout y,
                                       dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_primitive_desc_t made;
    DNNL(dnnl_pooling_forward_primitive_desc_create(
        &made, plan_engine(), training ? dnnl_forward_training : dnnl_forward_inference, pooling_algorithm(k), x, y,
        w.stride, w.kernel, w.dilation, w.pad_before, w.pad_after, attributes));
    return made;
}

dnnl_primitive_desc_t describe_pooling_gradient(const ImageKey *k, Layout dx, Layout dy, dnnl_primitive_desc_t forward,
                                                dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_primitive_desc_t made;
    DNNL(dnnl_pooling_backward_primitive_desc_create(&made, plan_engine(), pooling_algorithm(k), dx, dy, w.stride,
                                                     w.kernel, w.dilation, w.pad_before, w.pad_after, forward,
                                                     attributes));
    return made;
}

static void append_sum(dnnl_post_ops_t post)
{
    DNNL(dnnl_post_ops_append_sum(post, 1, 0, dnnl_data_type_undef));
}

static void append_relu(dnnl_post_ops_t post)
{
    DNNL(dnnl_post_ops_append_eltwise(post, dnnl_eltwise_relu, 0, 0));
}

#else /* 2.x */

Layout layout_strided(DType type, int rank, const int64_t *dims, const int64_t *strides)
{
    dnnl_memory_desc_t *made = mem_new(sizeof *made);
    DNNL(dnnl_memory_desc_init_by_strides(made, rank, dims, dnnl_type(type), strides));
    return made;
}

Layout layout_any(DType type, int rank, const int64_t *dims)
{
    dnnl_memory_desc_t *made = mem_new(sizeof *made);
    DNNL(dnnl_memory_desc_init_by_tag(made, rank, dims, dnnl_type(type), dnnl_format_tag_any));
    return made;
}

Layout layout_copy(Layout layout)
{
    return mem_copy(layout, sizeof *layout);
}

void layout_free(Layout layout)
{
    mem_free((void *)layout);
}

static dnnl_primitive_desc_t describe(const_dnnl_op_desc_t operation, dnnl_primitive_desc_t forward,
                                      dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t made;
    DNNL(dnnl_primitive_desc_create(&made, operation, attributes, plan_engine(), forward));
    return made;
}

dnnl_primitive_desc_t describe_product(Layout a, Layout b, Layout bias, Layout c, dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t operation;
    DNNL(dnnl_matmul_desc_init(&operation, a, b, bias, c));
    return describe(&operation, NULL, attributes);
}

dnnl_primitive_desc_t describe_convolution(const ImageKey *k, Layout x, Layout weight, Layout bias, Layout y,
                                           dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_convolution_desc_t operation;
    DNNL(dnnl_dilated_convolution_forward_desc_init(&operation, dnnl_forward_training, dnnl_convolution_direct, x,
                                                    weight, bias, y, w.stride, w.dilation, w.pad_before, w.pad_after));
    return describe(&operation, NULL, attributes);
}

dnnl_primitive_desc_t describe_convolution_by_input(const ImageKey *k, Layout dx, Layout weight, Layout dy,
                                                    dnnl_primitive_desc_t forward, dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_convolution_desc_t operation;
    DNNL(dnnl_dilated_convolution_backward_data_desc_init(&operation, dnnl_convolution_direct, dx, weight, dy, w.stride,
                                                          w.dilation, w.pad_before, w.pad_after));
    return describe(&operation, forward, attributes);
}

dnnl_primitive_desc_t describe_convolution_by_weight(const ImageKey *k, Layout x, Layout dweight, Layout dbias,
                                                     Layout dy, dnnl_primitive_desc_t forward,
                                                     dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_convolution_desc_t operation;
    DNNL(dnnl_dilated_convolution_backward_weights_desc_init(&operation, dnnl_convolution_direct, x, dweight, dbias, dy,
                                                             w.stride, w.dilation, w.pad_before, w.pad_after));
    return describe(&operation, forward, attributes);
}

dnnl_primitive_desc_t describe_pooling(const ImageKey *k, bool training, Layout x, Layout y,
                                       dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_pooling_v2_desc_t operation;
    DNNL(dnnl_pooling_v2_forward_desc_init(&operation, training ? dnnl_forward_training : dnnl_forward_inference,
                                           pooling_algorithm(k), x, y, w.stride, w.kernel, w.dilation, w.pad_before,
                                           w.pad_after));
    return describe(&operation, NULL, attributes);
}

dnnl_primitive_desc_t describe_pooling_gradient(const ImageKey *k, Layout dx, Layout dy, dnnl_primitive_desc_t forward,
                                                dnnl_primitive_attr_t attributes)
{
    Window w = window_of(k);
    dnnl_pooling_v2_desc_t operation;
    DNNL(dnnl_pooling_v2_backward_desc_init(&operation, pooling_algorithm(k), dx, dy, w.stride, w.kernel, w.dilation,
                                            w.pad_before, w.pad_after));
    return describe(&operation, forward, attributes);
}

static void append_sum(dnnl_post_ops_t post)
{
    DNNL(dnnl_post_ops_append_sum(post, 1));
}

static void append_relu(dnnl_post_ops_t post)
{
    DNNL(dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_relu, 0, 0));
}

#endif

dnnl_primitive_desc_t describe_reorder(Layout from, Layout to, dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t made;
    DNNL(dnnl_reorder_primitive_desc_create(&made, from, plan_engine(), to, plan_engine(), attributes));
    return made;
}

dnnl_primitive_attr_t plan_attributes(bool add, bool relu)
{
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t post;
    DNNL(dnnl_primitive_attr_create(&attributes));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
    DNNL(dnnl_post_ops_create(&post));
    if (add)
        append_sum(post);
    if (relu)
        append_relu(post);
    DNNL(dnnl_primitive_attr_set_post_ops(attributes, post));
    DNNL(dnnl_post_ops_destroy(post));
    return attributes;
}
