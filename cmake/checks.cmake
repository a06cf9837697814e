# Tests: tests/**/test_*.c and models/*/tests/test_*.c are one cmocka program each; tests/fuzz/fuzz_*.c are libFuzzer
# targets, and in every other build programs that replay a corpus.
enable_testing()
# Threads that wait for work spin little: on a machine that does more than these tests, spinning takes the time of those it
# waits for (measured: 15 s against 1 s).
set(check_environment "ZOO_BUILD=${PROJECT_BINARY_DIR};GOMP_SPINCOUNT=200")
set(all_floors ${ZOO_FLOORS})
list(REVERSE all_floors)

# A floor that calls upwards does not link: each one whole, with nothing but the floors below it.
file(WRITE ${PROJECT_BINARY_DIR}/floor_main.c "int main(void)\n{\n    return 0;\n}\n")
add_custom_target(floors)
foreach(floor ${ZOO_FLOORS})
    add_executable(floor_${floor} EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/floor_main.c)
    target_link_libraries(floor_${floor} PRIVATE -Wl,--whole-archive $<TARGET_FILE:${floor}> -Wl,--no-whole-archive ${floor})
    add_dependencies(floors floor_${floor})
endforeach()

if(ZOO_FUZZ)
    file(GLOB fuzzers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
    add_custom_target(fuzzers)
    foreach(source ${fuzzers})
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} EXCLUDE_FROM_ALL ${source})
        target_compile_options(${name} PRIVATE -Wno-missing-prototypes)
        target_link_libraries(${name} PRIVATE ${all_floors} -fsanitize=fuzzer)
        add_dependencies(fuzzers ${name})
    endforeach()
    return()
endif()

if(NOT zoo_cmocka_FOUND)
    return()
endif()

add_custom_target(checks) # everything that ./tests/run runs
add_dependencies(checks floors bench ${ZOO_MODELS})
if(TARGET zoo_nccl_transport)
    add_dependencies(checks zoo_nccl_transport)
endif()
add_subdirectory(${PROJECT_SOURCE_DIR}/tests/cuda_emulation ${PROJECT_BINARY_DIR}/cuda_emulation)
add_dependencies(checks zoo_cuda_emulated)
if(TARGET zoo_cuda_races)
    add_dependencies(checks zoo_cuda_races)
endif()

function(zoo_test name source)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_link_libraries(${name} PRIVATE ${ARGN} ${all_floors} PkgConfig::zoo_cmocka)
    add_dependencies(checks ${name})
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 ENVIRONMENT
                         "${check_environment}")
endfunction()

file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/test_*.c)
foreach(source ${tests})
    get_filename_component(name ${source} NAME_WE)
    zoo_test(${name} ${source})
endforeach()
# The same programs on the emulated GPU, and once more with its kernels watched for races (`./tests/run --gpu` runs them on a
# real one).
function(zoo_cuda_test prefix name library)
    add_test(NAME ${prefix}_${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${prefix}_${name} PROPERTIES LABELS cuda SKIP_RETURN_CODE 77 TIMEOUT 900 ENVIRONMENT
                         "${check_environment};ZOO_TEST_DEVICE=cuda;ZOO_CUDA_LIBRARY=$<TARGET_FILE:${library}>;${ARGN}")
endfunction()
file(GLOB cuda_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/kernels/test_*_kernels.c
     ${PROJECT_SOURCE_DIR}/tests/autograd/test_ops.c ${PROJECT_SOURCE_DIR}/tests/autograd/test_batch_norm.c
     ${PROJECT_SOURCE_DIR}/tests/kernels/test_attention*.c)
foreach(source ${cuda_tests})
    get_filename_component(name ${source} NAME_WE)
    if(ZOO_SANITIZE)
        zoo_cuda_test(cuda ${name} zoo_cuda_emulated ZOO_TEST_ONCE=1)
    else()
        zoo_cuda_test(cuda ${name} zoo_cuda_emulated)
    endif()
    if(TARGET zoo_cuda_races)
        zoo_cuda_test(races ${name} zoo_cuda_races ZOO_TEST_ONCE=1)
    endif()
endforeach()
# What stands on a device below the models. Not here: test_sampling, test_random, test_stored_type and the tests of files, whose numbers
# are the host's alone.
foreach(name tensor pool params init optimizer training gradient_sum tape tape_modes gradient_memory fused select state ranks attend
        cache equal_rows kmeans routed windowed)
    zoo_cuda_test(cuda test_${name} zoo_cuda_emulated ZOO_TEST_ONCE=1)
endforeach()
foreach(model ${ZOO_MODELS})
    file(GLOB tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/models/${model}/tests/test_*.c)
    foreach(source ${tests})
        get_filename_component(name ${source} NAME_WE)
        zoo_test(${model}_${name} ${source} zoo_model_${model})
    endforeach()
endforeach()

# tests/*.sh: what only the built programs and the tree can show (end to end, floors' includes, formatting).
file(GLOB scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/scripts/*.sh)
foreach(script ${scripts})
    get_filename_component(name ${script} NAME_WE)
    add_test(NAME ${name} COMMAND bash ${script} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 ENVIRONMENT
                         "${check_environment}")
endforeach()

file(GLOB fuzzers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(source ${fuzzers})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.c)
    target_compile_options(${name} PRIVATE -Wno-missing-prototypes)
    target_link_libraries(${name} PRIVATE ${all_floors})
    add_dependencies(checks ${name})
    add_test(NAME ${name} COMMAND ${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
endforeach()
