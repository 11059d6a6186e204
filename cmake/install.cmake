# install: library, header, man pages, documents, pkg-config file and CMake package.
include(CMakePackageConfigHelpers)

install(TARGETS umbel_shared EXPORT umbel)
install(TARGETS umbel_static)
install(FILES include/umbel.h TYPE INCLUDE)

configure_file(cmake/umbel.pc.in umbel.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/umbel.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The CMake package knows the shared library only; its dependencies are then nobody's business.
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/umbel)
install(EXPORT umbel NAMESPACE umbel:: FILE umbelConfig.cmake DESTINATION ${package})
write_basic_package_version_file(umbelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/umbelConfigVersion.cmake DESTINATION ${package})

file(GLOB documents CONFIGURE_DEPENDS README.md CHANGES.md LICENSE docs/*.md)
install(FILES ${documents} TYPE DOC)

# man/NAME.SECTION.scd
find_program(SCDOC scdoc)
file(GLOB sources CONFIGURE_DEPENDS man/*.scd)
if(sources AND NOT SCDOC)
	message(STATUS "man pages: not built, scdoc was not found")
	set(sources)
endif()
foreach(source IN LISTS sources)
	cmake_path(GET source STEM LAST_ONLY page)
	cmake_path(GET page EXTENSION LAST_ONLY section)
	string(SUBSTRING ${section} 1 -1 section)
	set(out ${CMAKE_BINARY_DIR}/man/${page})
	# Not straight into the page: a failed scdoc must not leave an empty one that looks made.
	add_custom_command(OUTPUT ${out} DEPENDS ${source} VERBATIM
		COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
		COMMAND sh -c "'${SCDOC}' <\"$1\" >\"$2.new\" && mv \"$2.new\" \"$2\""
			scdoc ${source} ${out})
	list(APPEND pages ${out})
	install(FILES ${out} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
add_custom_target(man ALL DEPENDS ${pages})
