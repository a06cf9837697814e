# The backends of common/comm that need a library which not every machine has: shared objects in build/<preset>/comm/, opened
# when a launcher has started several ranks. A program starts without them, and needs no MPI.
target_compile_definitions(zoo_comm PRIVATE ZOO_BUILD="${PROJECT_BINARY_DIR}")
if(zoo_mpi_FOUND)
    add_library(zoo_mpi_transport MODULE common/comm/mpi/transport.c)
    target_include_directories(zoo_mpi_transport PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(zoo_mpi_transport PRIVATE PkgConfig::zoo_mpi)
    set_target_properties(zoo_mpi_transport PROPERTIES OUTPUT_NAME zoo_mpi LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/comm)
    add_dependencies(zoo_comm zoo_mpi_transport)
endif()
