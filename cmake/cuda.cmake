# The CUDA backend: common/kernels/cuda/*.cu as build/<preset>/libzoo_cuda.so, which programs open when they are told
# `device: cuda`. The target zoo_cuda is made when it is asked for (./train and ./eval do), and needs the CUDA toolkit alone: no
# GPU, no driver. nvcc is called by commands of our own: CMake's CUDA language takes seconds of every first `cmake`.
set(ZOO_CUDA AUTO CACHE STRING "The CUDA backend can be built: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE ZOO_CUDA PROPERTY STRINGS AUTO ON OFF)
set(cuda_summary "off")
if(NOT ZOO_CUDA STREQUAL OFF)
    find_program(ZOO_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
    if(NOT ZOO_NVCC AND ZOO_CUDA STREQUAL ON)
        message(FATAL_ERROR "ZOO_CUDA=ON, but there is no nvcc in PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin")
    endif()
    set(cuda_summary "no nvcc")
endif()

# What this machine's GPU runs natively, beside sm_80 and sm_90 and what the driver makes of compute_90 for newer ones.
function(zoo_native_gpu out)
    set(${out} "" PARENT_SCOPE)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE found ERROR_QUIET
                    RESULT_VARIABLE failed)
    if(NOT failed AND found MATCHES "^([0-9]+)\\.([0-9]+)")
        set(${out} "${CMAKE_MATCH_1}${CMAKE_MATCH_2}" PARENT_SCOPE)
    endif()
endfunction()

function(zoo_cuda_library)
    set(architectures 80 90)
    zoo_native_gpu(native)
    if(native GREATER 80)
        list(APPEND architectures ${native})
        list(REMOVE_DUPLICATES architectures)
    endif()
    set(flags -std=c++17 -O3 --threads 1 -I${PROJECT_SOURCE_DIR} -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-fPIC,-fvisibility=hidden)
    foreach(architecture ${architectures})
        list(APPEND flags -gencode=arch=compute_${architecture},code=sm_${architecture})
    endforeach()
    list(APPEND flags -gencode=arch=compute_90,code=compute_90)
    if(ZOO_WERROR)
        list(APPEND flags -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror)
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/common/kernels/cuda/*.cu)
    set(objects)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
        add_custom_command(OUTPUT ${object} DEPFILE ${object}.d DEPENDS ${source}
                           COMMAND ${ZOO_NVCC} ${flags} -MD -MF ${object}.d -c ${source} -o ${object}
                           COMMENT "nvcc common/kernels/cuda/${name}.cu")
        list(APPEND objects ${object})
    endforeach()
    # A broken contract speaks as everywhere.
    set(object ${PROJECT_BINARY_DIR}/cuda/error.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${PROJECT_SOURCE_DIR}/common/base/error.c
                       COMMAND ${CMAKE_C_COMPILER} -O2 -fPIC -fvisibility=hidden -D_GNU_SOURCE -I${PROJECT_SOURCE_DIR}
                               -c ${PROJECT_SOURCE_DIR}/common/base/error.c -o ${object})
    list(APPEND objects ${object})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/cuda)
    set(library ${PROJECT_BINARY_DIR}/libzoo_cuda.so)
    add_custom_command(OUTPUT ${library} DEPENDS ${objects} COMMENT "linking libzoo_cuda.so"
                       COMMAND ${ZOO_NVCC} -ccbin ${CMAKE_CXX_COMPILER} -shared -Xlinker=--no-undefined -o ${library} ${objects})
    add_custom_target(zoo_cuda DEPENDS ${library})
    set(cuda_architectures ${architectures} PARENT_SCOPE)
endfunction()

if(ZOO_NVCC AND NOT ZOO_CUDA STREQUAL OFF)
    zoo_cuda_library()
    execute_process(COMMAND ${ZOO_NVCC} --version OUTPUT_VARIABLE nvcc_version)
    string(REGEX REPLACE ".*release ([0-9.]+).*" "\\1" nvcc_version "${nvcc_version}")
    list(JOIN cuda_architectures ", sm_" cuda_architectures)
    set(cuda_summary "nvcc ${nvcc_version} (sm_${cuda_architectures}; built when `device: cuda` is asked for)")
endif()
message(STATUS "zoo: CUDA: ${cuda_summary}")
