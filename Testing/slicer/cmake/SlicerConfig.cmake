# Stands in for the build tree of Slicer: takes what an extension hands to Slicer's macros, refuses what those
# refuse, and writes it down in slicer_record.txt of the build folder for test_extension.py.

set(SLICER_RECORD "${CMAKE_BINARY_DIR}/slicer_record.txt")
file(WRITE "${SLICER_RECORD}" "")

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Pack.cmake")
