# flags: what every file here is compiled and linked with.

if(NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()

add_compile_definitions(_GNU_SOURCE)

# Callbacks seldom need every parameter: -Wextra without that one.
add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wshadow -Wstrict-prototypes
	-Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 -Wundef)
if(UMBEL_WERROR)
	add_compile_options(-Werror)
endif()

add_compile_options(-fstack-protector-strong
	$<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE$<SEMICOLON>-D_FORTIFY_SOURCE=2>)
add_link_options(-Wl,-z,relro,-z,now)

if(UMBEL_SANITIZE)
	set(sanitize -fsanitize=${UMBEL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_compile_options(${sanitize})
	add_link_options(${sanitize})
endif()
