# programs: examples, tests, fuzz targets, benchmarks. Without its library a program is left out.

file(GLOB sources CONFIGURE_DEPENDS examples/*.c examples/redis/*.c)
foreach(source IN LISTS sources)
	cmake_path(GET source STEM name)
	set(library)
	if(source MATCHES "/examples/redis/")
		set(name redis_${name})
		set(library HIREDIS)
	endif()
	if(name MATCHES "^hello_http")
		set(library MICROHTTPD)
	elseif(name MATCHES "^hello_libevent")
		set(library LIBEVENT)
	endif()
	if(library AND NOT ${library}_FOUND)
		message(STATUS "examples/${name}: not built, ${library} was not found")
		continue()
	endif()
	add_executable(examples-${name} ${source})
	target_link_libraries(examples-${name} PRIVATE umbel_shared)
	if(library)
		target_link_libraries(examples-${name} PRIVATE PkgConfig::${library})
	endif()
	set_target_properties(examples-${name} PROPERTIES OUTPUT_NAME ${name}
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples)
endforeach()

if(UMBEL_TESTS)
	programs(tests/programs umbel_shared PkgConfig::JANSSON)
	# The same with the static library.
	add_executable(tests-programs-hello_static examples/hello.c)
	target_link_libraries(tests-programs-hello_static PRIVATE umbel_static)
	set_target_properties(tests-programs-hello_static PROPERTIES OUTPUT_NAME hello_static
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/programs)
	# One more of them, of several files.
	file(GLOB sources CONFIGURE_DEPENDS tests/contract/driver/*.c)
	add_executable(tests-programs-driver ${sources})
	target_include_directories(tests-programs-driver PRIVATE tests/programs)
	target_link_libraries(tests-programs-driver PRIVATE umbel_shared PkgConfig::JANSSON)
	set_target_properties(tests-programs-driver PROPERTIES OUTPUT_NAME driver
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/programs)
	# What umbel is run with where memory is to run out.
	add_library(tests-lack MODULE tests/lack/lack.c)
	target_link_libraries(tests-lack PRIVATE ${CMAKE_DL_LIBS})
	set_target_properties(tests-lack PROPERTIES OUTPUT_NAME lack PREFIX "" C_VISIBILITY_PRESET default
		LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/programs)
	programs(bench ${private} m)
	programs(scripts ${private}) # what writes docs/LIFE.md
	if(CMOCKA_FOUND)
		programs(tests/unit ${private} PkgConfig::CMOCKA)
		# The command is no library: what is tested of it comes along.
		foreach(name tail tool)
			target_sources(tests-unit-test_${name} PRIVATE tool/${name}.c)
			target_include_directories(tests-unit-test_${name} PRIVATE tool)
		endforeach()
	else()
		message(STATUS "tests/unit: not built, cmocka was not found")
	endif()
endif()

# fuzz/fuzz_NAME.c has only LLVMFuzzerTestOneInput(), which no header declares. With clang it
# becomes the fuzzer fuzz_NAME, with any compiler replay_NAME, which runs the files it is given.
file(GLOB sources CONFIGURE_DEPENDS fuzz/fuzz_*.c)
foreach(source IN LISTS sources)
	cmake_path(GET source STEM name)
	string(REPLACE "fuzz_" "replay_" replay ${name})
	if(UMBEL_FUZZ)
		add_executable(${name} ${source})
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
		set(target ${name})
	elseif(UMBEL_TESTS AND EXISTS ${CMAKE_SOURCE_DIR}/fuzz/replay.c)
		add_executable(${replay} ${source} fuzz/replay.c)
		set(target ${replay})
	else()
		continue()
	endif()
	target_compile_options(${target} PRIVATE -Wno-missing-prototypes)
	target_link_libraries(${target} PRIVATE ${private})
	set_target_properties(${target} PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fuzz)
endforeach()
