# Every library as Debian packages it, each as one target, and a line that says what was found.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)

function(zoo_pkg target module)
    pkg_check_modules(${target} REQUIRED IMPORTED_TARGET GLOBAL ${module})
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE PkgConfig::${target})
    set(${target}_VERSION ${${target}_VERSION} PARENT_SCOPE)
endfunction()

zoo_pkg(zoo_yaml yaml-0.1)
zoo_pkg(zoo_jansson jansson)
zoo_pkg(zoo_zip libzip)
zoo_pkg(zoo_deflate libdeflate)
zoo_pkg(zoo_jpeg libturbojpeg)
zoo_pkg(zoo_utf8proc libutf8proc)
zoo_pkg(zoo_pcre2 libpcre2-8)

# sentencepiece by its header and library: its .pc file on Debian 13 asks for protobuf's, which nothing here needs.
find_path(SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
add_library(zoo_sentencepiece INTERFACE)
target_include_directories(zoo_sentencepiece INTERFACE ${SENTENCEPIECE_INCLUDE})
target_link_libraries(zoo_sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY})

# oneDNN by its header and library: the CMake package of Debian 12 asks for OpenCL's headers, which nothing here needs.
find_path(DNNL_INCLUDE oneapi/dnnl/dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(zoo_dnnl INTERFACE)
target_include_directories(zoo_dnnl INTERFACE ${DNNL_INCLUDE})
target_link_libraries(zoo_dnnl INTERFACE ${DNNL_LIBRARY})
file(STRINGS ${DNNL_INCLUDE}/oneapi/dnnl/dnnl_version.h version_lines REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX REPLACE "[^0-9;]+" "" dnnl_VERSION "${version_lines}")
string(REPLACE ";" "." dnnl_VERSION "${dnnl_VERSION}")

# Optional: several ranks (mpirun). By pkg-config, which Open MPI's and MPICH's Debian packages have alike; CMake's own search
# compiles test programs and takes a second.
pkg_check_modules(zoo_mpi QUIET IMPORTED_TARGET GLOBAL ompi-c)
if(NOT zoo_mpi_FOUND)
    pkg_check_modules(zoo_mpi QUIET IMPORTED_TARGET GLOBAL mpi-c)
endif()
if(zoo_mpi_FOUND)
    set(mpi_version ${zoo_mpi_VERSION})
else()
    set(mpi_version "not found (one process a run)")
endif()

pkg_check_modules(zoo_cmocka QUIET IMPORTED_TARGET GLOBAL cmocka)

if(zoo_cmocka_FOUND)
    set(cmocka_version ${zoo_cmocka_VERSION})
else()
    set(cmocka_version "not found (no tests)")
endif()
message(STATUS "zoo: ${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}, ${CMAKE_BUILD_TYPE}, oneDNN ${dnnl_VERSION}, "
               "libyaml ${zoo_yaml_VERSION}, jansson ${zoo_jansson_VERSION}, libzip ${zoo_zip_VERSION}, "
               "turbojpeg ${zoo_jpeg_VERSION}, png ${PNG_VERSION_STRING}, zlib ${ZLIB_VERSION_STRING}, libdeflate ${zoo_deflate_VERSION}, "
               "utf8proc ${zoo_utf8proc_VERSION}, pcre2 ${zoo_pcre2_VERSION}, "
               "cmocka ${cmocka_version}")
