# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for sqlsnapfs(8). tests/unit/test_texts.c compares it with the table of options.

# Completes the last option of LIST, which is the text after -o so far. BEFORE is the part of it that readline keeps.
_sqlsnapfs_options() {
	local list=$1 before=$2 item prefix value folder
	local plain='frozen databases_only shared_locks norestore restore force hide_databases ro rw nonempty allow_other allow_root'
	local valued='wal_limit= wal_max= check= busy_timeout= keep= store= log= fsname= max_read='

	item=${list##*,}
	prefix=${list%"$item"}
	case $item in
	check=*) value='quick full' ;;
	log=*) value='debug info warning error' ;;
	store=*)
		mapfile -t COMPREPLY < <(compgen -d -- "${item#*=}")
		for folder in "${!COMPREPLY[@]}"; do COMPREPLY[folder]=$prefix${item%%=*}=${COMPREPLY[folder]}/; done
		compopt -o nospace 2>/dev/null
		;;
	*=*) return 0 ;;
	*)
		mapfile -t COMPREPLY < <(compgen -P "$prefix" -W "$plain $valued" -- "$item")
		compopt -o nospace 2>/dev/null # a comma, or a value, may follow
		;;
	esac
	[ -z "${value-}" ] || mapfile -t COMPREPLY < <(compgen -P "$prefix${item%%=*}=" -W "$value" -- "${item#*=}")
	COMPREPLY=("${COMPREPLY[@]#"$before"}")
}

_sqlsnapfs() {
	local line=${COMP_LINE:0:COMP_POINT} word before='' previous i

	COMPREPLY=()
	word=${line##*[[:space:]]}
	line=${line%"$word"}
	line=${line%"${line##*[![:space:]]}"}
	previous=${line##*[[:space:]]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		[ "${COMP_WORDS[i]}" = -- ] || continue
		if declare -F _comp_command_offset >/dev/null; then
			_comp_command_offset $((i + 1))
		elif declare -F _command_offset >/dev/null; then
			_command_offset $((i + 1))
		else
			compopt -o default 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -c -- "$word")
		fi
		return
	done
	# readline completes only the text after the last =.
	[[ $COMP_WORDBREAKS != *=* || $word != *=* ]] || before=${word%"${word##*=}"}

	if [[ $previous == -o || $previous == -[fd]*o ]]; then
		_sqlsnapfs_options "$word" "$before"
	elif [[ $word == -o* ]]; then
		_sqlsnapfs_options "${word#-o}" "${before#-o}"
		[ -n "$before" ] || COMPREPLY=("${COMPREPLY[@]/#/-o}")
	elif [[ $word == -* && $word != *=* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-f -d -o -h --help -V --version --check' -- "$word")
	else
		compopt -o default 2>/dev/null # files: SOURCE, NAME=PATH, MOUNTPOINT, --check FILE
	fi
}

complete -F _sqlsnapfs sqlsnapfs
